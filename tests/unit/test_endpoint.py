"""The grammar of a registered URL."""

import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.cli.address import shown_url
from relay.egress import AddressPolicy
from relay.registration import Target
from relay.registration.endpoint import Endpoint, EndpointRules, parse_endpoint

RULES = EndpointRules(AddressPolicy())
LOOPBACK = EndpointRules(AddressPolicy(allow=["127.0.0.0/8", "[::1]:8000", "localhost:8000", "erp.corp"]))


def test_a_url_is_kept_as_its_parts():
    endpoint = parse_endpoint("https://hook.vendor.com/v2/a%20b?tenant=acme&x=%C3%A9&flag", RULES)
    assert endpoint == Endpoint("https", "hook.vendor.com", 443, "/v2/a%20b", "tenant=acme&x=%C3%A9&flag")
    assert endpoint.url == "https://hook.vendor.com/v2/a%20b?tenant=acme&x=%C3%A9&flag"
    assert endpoint.authority == "hook.vendor.com"
    assert endpoint.fixed_query == (("tenant", "acme"), ("x", "\u00e9"), ("flag", ""))


@pytest.mark.parametrize("name", ["key", "api%20key", "%C3%A9"])
@pytest.mark.parametrize("value", ["", "=", "=plain-value-1", "=a%20b%20secret"])
def test_names_and_values_that_are_fixed_are_decoded_and_shown_without_secrets(name, value):
    endpoint = parse_endpoint(f"https://vendor.com/?{name}{value}&page=1", RULES)
    assert endpoint.fixed_query == ((unquote(name), unquote(value[1:])), ("page", "1"))
    shown = f"{name}{'=[redacted]' if len(value) > 8 else value}"
    assert shown_url(endpoint.url, Target(endpoint)) == f"https://vendor.com/?{shown}&page=1"


def test_scheme_and_host_are_lower_cased_and_the_path_is_not():
    assert parse_endpoint("HTTPS://Hook.VENDOR.com/Path", RULES).url == "https://hook.vendor.com/Path"


def test_a_missing_path_is_the_root():
    assert parse_endpoint("https://vendor.com", RULES).path == "/"
    assert parse_endpoint("https://vendor.com?a=b", RULES).url == "https://vendor.com/?a=b"


def test_a_default_port_is_left_out_and_an_open_one_is_kept():
    rules = EndpointRules(AddressPolicy(ports=[8443]))
    assert parse_endpoint("https://vendor.com:443/", rules).authority == "vendor.com"
    assert parse_endpoint("https://vendor.com:8443/", rules).authority == "vendor.com:8443"


@pytest.mark.parametrize(
    "url",
    ["", "https", "https:", "https://", "https:///x", "//vendor.com/", "/x", "http://vendor.com/", "ftp://vendor.com/",
     "ws://vendor.com/", "file:///etc/passwd", "javascript:alert(1)", "https:/vendor.com/", "https:vendor.com",
     "https://user@vendor.com/", "https://u:p@vendor.com/", "https://@vendor.com/", "https://vendor.com\\@evil.com/",
     "https://vendor.com/x#y", "https://vendor.com/#", "https://vendor.com#x", "https://vendor.com/?a#b", "https://vendor.com/a\\b",
     "https://vendor.com/a b", " https://vendor.com/", "https://vendor.com/\n", "https://vendor.com/\t", "https://vendor.com/\u00e9",
     "https://vend\u00f6r.com/", "https://vendor.com\x00/", "https://vendor/", "https://localhost/", "https://a.localhost/",
     "https://metadata.google.internal/", "https://printer.local/", "https://x.home.arpa/", "https://x.example/", "https://x.test/",
     "https://x.onion/", "https://x.svc/", "https://vendor.com./", "https://.vendor.com/", "https://vendor..com/", "https://-a.com/",
     "https://a-.com/", "https://a_b.com/", "https://" + "a" * 64 + ".com/", "https://" + "a." * 126 + "com/", "https://127.0.0.1/",
     "https://93.184.216.34/", "https://127.1/", "https://1.2.3.4.5/", "https://2130706433/", "https://0x7f.0.0.1/",
     "https://a.0x7f/", "https://a.1/", "https://01.2.3.4/", "https://[::1]/", "https://[2a00::1]/", "https://[::1%25eth0]/",
     "https://[]/", "https://[127.0.0.1]/", "https://[::1/", "https://::1/", "https://vendor.com:/", "https://vendor.com:0/",
     "https://vendor.com:0443/", "https://vendor.com:65536/", "https://vendor.com:123456/", "https://vendor.com:+443/",
     "https://vendor.com:443:443/", "https://vendor.com:80/", "https://vendor.com:6379/", "https://vendor.com/%", "https://vendor.com/%2",
     "https://vendor.com/%zz", "https://vendor.com/%c3%A9", "https://vendor.com/%41", "https://vendor.com/%7E", "https://vendor.com/%2E%2E/",
     "https://vendor.com/a%2Fb", "https://vendor.com/a%5Cb", "https://vendor.com/a%00", "https://vendor.com/a%0D%0A", "https://vendor.com/%7F",
     "https://vendor.com/?a=%0A", "https://vendor.com/?a=%00", "https://vendor.com/?a=%61", "https://vendor.com/?a=%2f", "https://vendor.com/?",
     "https://vendor.com//x", "https://vendor.com/x//", "https://vendor.com/./x", "https://vendor.com/x/..", "https://vendor.com/x/../y",
     "https://vendor.com/..;a/x", "https://vendor.com/{a b}", "https://vendor.com/?a={id}", "https://vendor.com/a|b", 'https://vendor.com/a"b',
     "https://vendor.com/<x>", "https://vendor.com/a^b", "https://vendor.com/a`b", "https://vendor.com/[x]"],
)  # fmt: skip
def test_what_is_outside_the_grammar_is_refused_without_being_quoted(url):
    with pytest.raises(ValueError) as error:
        parse_endpoint(url, RULES)
    assert type(error.value) is ValueError
    assert "vendor" not in str(error.value)


#: What is told of a URL, and the URLs that are told so.
REASONS = {
    "is longer than 2048 characters": ["https://vendor.com/".ljust(2_049, "a"), "\u00e9" * 2_049],
    "must be of visible ASCII": ["https://vendor.com/\u00e9", "https://vend\u00f6r.com/", " https://vendor.com/", "https://vendor.com/?a=\n", ""],
    "outside its path": ["https://{id}.vendor.com/", "https://vendor.com:{port}/", "https://u:p@{host}/", "https://{host}?a={b}"],
    "must hold no user and password": ["https://u:p@vendor.com/", "https://u@vendor.com", "https://u:p@vendor.com/{id}", "ftp://u:p@vendor.com/"],
    "must be an absolute URL": ["vendor.com", "//vendor.com/", "https:/vendor.com/", "https://a_b.com/", "https://vendor.com:+443/", "https://vendor.com#x"],
    "must begin with `https://`": ["ftp://vendor.com/", "ws://127.0.0.1/"],
    "only where RELAY_EGRESS_ALLOW": ["http://vendor.com/", "http://vendor.com:443/", "http://10.0.0.1/"],
    "looks like an address": ["https://127.1/", "https://01.2.3.4/", "https://[1::2::3]/", "https://[1.2.3.4]/"],
    "letters, digits and hyphens": ["https://-a.com/", "https://vendor.com./", "https://" + "a" * 64 + ".com/"],
    "a port that is not a number from 1": ["https://vendor.com:0/", "https://vendor.com:/", "https://vendor.com:0443/", "https://vendor.com:65536/"],
    "must name its host": ["https://93.184.216.34/", "https://[2a00::1]/"],
    "at least two labels": ["https://vendor/", "https://localhost/"],
    "under a special-use suffix": ["https://vendor.test/", "https://x.home.arpa/"],
    "a port that is not open": ["https://vendor.com:80/", "https://vendor.com:8443/"],
    "a brace in its path": ["https://vendor.com/a{id}", "https://vendor.com/{id}b/", "https://vendor.com/{", "https://vendor.com/a}", "https://vendor.com/{a{b}}"],
    "a character in its path": ["https://vendor.com/x#y", "https://vendor.com/a|b"],
    "two upper-case hexadecimal digits": ["https://vendor.com/%", "https://vendor.com/%2", "https://vendor.com/%c3", "https://vendor.com/?a=%2f"],
    "needs no escape": ["https://vendor.com/%41", "https://vendor.com/%7E", "https://vendor.com/?a=%61"],
    "escapes a control character": ["https://vendor.com/%2F", "https://vendor.com/%5C", "https://vendor.com/%7F", "https://vendor.com/?a=%1F"],
    "has `//` in its path": ["https://vendor.com//x", "https://vendor.com/x//", "https://vendor.com//"],
    "a dot segment": ["https://vendor.com/.", "https://vendor.com/x/..", "https://vendor.com/..;a/x", "https://vendor.com/.;/"],
    "in its path whose name": ["https://vendor.com/{a|b}", "https://vendor.com/{}", "https://vendor.com/{" + "a" * 65 + "}"],
    "twice in its path": ["https://vendor.com/{a}/{b}/{a}"],
    "more than 8": ["https://vendor.com" + "".join(f"/{{p{number}}}" for number in range(9))],
    "ends in an empty query": ["https://vendor.com/?", "https://vendor.com?"],
    "a brace in its query": ["https://vendor.com/?a={id}", "https://vendor.com/?{", "https://vendor.com/?}"],
    "a character in its query": ["https://vendor.com/?a#b", "https://vendor.com/?a=b|c"],
}  # fmt: skip


@pytest.mark.parametrize("reason", REASONS)
def test_what_is_wrong_with_a_url_is_told(reason):
    for url in REASONS[reason]:
        with pytest.raises(ValueError, match=re.escape(reason)):
            parse_endpoint(url, RULES)


def test_an_open_port_makes_no_plain_http_of_it_and_no_host_of_an_address():
    rules = EndpointRules(AddressPolicy(ports=[80, 443]))
    assert parse_endpoint("https://vendor.com:80/", rules).authority == "vendor.com:80"
    for url in ("http://vendor.com/", "http://vendor.com:443/", "https://93.184.216.34:80/", "https://vendor:80/"):
        with pytest.raises(ValueError):
            parse_endpoint(url, rules)


def test_a_url_without_a_query_fixes_nothing():
    assert parse_endpoint("https://vendor.com/x", RULES).fixed_query == ()
    assert parse_endpoint("https://vendor.com/?a&&b=", RULES).fixed_query == (("a", ""), ("", ""), ("b", ""))


@pytest.mark.parametrize(
    "url",
    ["https://xn--bcher-kva.com/x", "https://a.b.c.d.e.co/", "https://3com.com/", "https://vendor.com/a%20b", "https://vendor.com/trailing/",
     "https://vendor.com/a;b=c,d/@me:x", "https://vendor.com/~user/(x)!*'$&+=", "https://vendor.com/...", "https://vendor.com/.well-known/x",
     "https://vendor.com/?q=a/b?c", "https://vendor.com/?next=a//b", "https://vendor.com/?sp=%2Ftriggers%2Frun", "https://svc.vendor.com/",
     "https://vendor.com/%C3%A9", "https://" + "a" * 63 + ".com/", "https://vendor.com/?a=1&a=2&&b"],
)  # fmt: skip
def test_what_is_inside_the_grammar_is_kept_exactly(url):
    assert parse_endpoint(url, RULES).url == url


def test_a_url_of_2048_characters_is_the_longest():
    url = "https://vendor.com/".ljust(2048, "a")
    assert parse_endpoint(url, RULES).url == url
    with pytest.raises(ValueError):
        parse_endpoint(url + "a", RULES)


def test_an_extra_suffix_counts_as_ordinary_and_only_that_one():
    rules = EndpointRules(AddressPolicy(), frozenset({"test"}))
    assert parse_endpoint("https://hook.vendor.test/x", rules).host == "hook.vendor.test"
    with pytest.raises(ValueError):
        parse_endpoint("https://hook.vendor.local/x", rules)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://127.0.0.1:8080/x", "127.0.0.1:8080"),
        ("http://127.0.0.1/x", "127.0.0.1"),
        ("http://127.0.0.1:1/x", "127.0.0.1:1"),
        ("http://127.0.0.1:65535/x", "127.0.0.1:65535"),
        ("https://127.0.0.1/x", "127.0.0.1"),
        ("http://[::1]:8000/x", "[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]:8000/x", "[::1]:8000"),
        ("http://localhost:8000/x", "localhost:8000"),
        ("https://erp.corp:9999/x", "erp.corp:9999"),
    ],
)
def test_an_exempted_host_may_be_plain_a_literal_special_and_on_any_port(url, authority):
    assert parse_endpoint(url, LOOPBACK).authority == authority


@pytest.mark.parametrize(
    "url", ["http://[::1]:8001/", "http://localhost/", "http://vendor.com/", "https://10.0.0.1/", "http://127.0.0.1:8080/a b",
            "ftp://127.0.0.1/", "http://127.0.0.1:8080/%2E", "http://u@127.0.0.1/",
            *(f"http://127.0.0.1:{port}/" for port in ("", "0", "080", "65536", "99999", "+80", "a"))]
)  # fmt: skip
def test_an_exemption_is_for_its_host_and_port_and_leaves_the_grammar_alone(url):
    with pytest.raises(ValueError):
        parse_endpoint(url, LOOPBACK)


URLISH = st.text(alphabet="htps:/[]@?#%&=.\\ -_09afxAF1\n\u00e9").map(lambda tail: "https://" + tail)


@given(st.text() | URLISH)
@example("https://[::ffff:1.2.3.4]/")
@example("https://[1.2.3.4]/")
def test_parsing_raises_nothing_but_value_errors_and_what_passes_parses_to_itself(url):
    try:
        endpoint = parse_endpoint(url, LOOPBACK)
    except ValueError:
        return
    assert parse_endpoint(endpoint.url, LOOPBACK) == endpoint
