from __future__ import annotations

import base64
import html
import json
import time
import urllib.parse

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.answer import search
from relay.answer.masking import REPLACEMENT, Mask
from relay.answer.needles import Needle, forms_of
from relay.answer.search import SLICE_BYTES
from relay.registration import Shape, Target
from relay.registration.credentials import Basic, Credentials, OAuth2Client
from relay.registration.endpoint import Endpoint
from relay.registration.header_rules import MIN_MASKED_LENGTH

ENDPOINT = Endpoint("https", "hooks.partner-service.com", 8443, "/services/T0/in%20box", "token=ab%2Fcd%20ef+gh&v=2")
SECRET = "s3cr3t+/=&<'\"\\>-value"


def mask_of(headers=None, endpoint=ENDPOINT, **shape) -> Mask:
    return Mask.of(Shape("w", "POST", **shape), Target(endpoint, headers or {}))


def mask_for(secret: str) -> Mask:
    """Return a typical registration's mask: it finds the URL by its letters, so escapes are not undone everywhere."""
    return mask_of({"X-Api-Key": secret}, Endpoint("https", "hooks.partner-service.com", 443, "/"))


@pytest.mark.parametrize(
    ("registered", "shown"),
    [
        ("xn--mnchen-apotheke-zvb.de", "m\u00fcnchen-apotheke.de"),
        ("api.xn--strae-oqa.example", "api.stra\u00dfe.example"),
    ],
)
def test_a_host_in_another_script_is_hidden_as_it_is_registered_and_as_it_is_read(registered, shown):
    mask = mask_of(endpoint=Endpoint("https", registered, 8443, "/v1/orders"))
    for host in (registered, shown):
        text = f"see https://{host}:8443/v1/orders?page=2 or mail x@{host}"
        assert mask.text(text)[0] == "see [redacted]?page=2 or mail x@[redacted]"


def test_a_host_that_only_looks_encoded_is_hidden_as_it_is():
    assert (
        mask_of(endpoint=Endpoint("https", "xn--\u00fc.example.com", 443, "/")).text("xn--\u00fc.example.com")[1] == 1
    )
    assert mask_of(endpoint=Endpoint("https", "xn--99999999999.example.com", 443, "/")).text(
        "xn--99999999999.example.com"
    )[1]


# Header values: visible ASCII with inner spaces (security.md), at least 8 characters.
secrets = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=8, max_size=60).filter(
    lambda s: s.strip() == s and "redacted" not in s
)
# Text around the secret has no bare escape character, which could merge with the secret's first letters.
surroundings = st.text(st.characters(codec="utf-8", exclude_characters="%&\\"), max_size=20)


def percent_all(secret: str) -> str:
    return "".join(f"%{byte:02X}" for byte in secret.encode())


TEXT_FORMS = {
    "raw": lambda s: s,
    "upper case": str.upper,
    "lower case": str.lower,
    "quote": urllib.parse.quote,
    "quote everything": lambda s: urllib.parse.quote(s, safe=""),
    "quote, lower-case hex": lambda s: urllib.parse.quote(s, safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
    "quote_plus": urllib.parse.quote_plus,
    "urlencode": lambda s: urllib.parse.urlencode({"k": s}),
    "encodeURIComponent": lambda s: urllib.parse.quote(s, safe="!'()*"),
    "encodeURI": lambda s: urllib.parse.quote(s, safe=";,/?:@&=+$#!'()*"),
    "form of PHP": lambda s: urllib.parse.quote_plus(s).replace("~", "%7E"),
    "percent, all": percent_all,
    "percent, all, lower-case": lambda s: percent_all(s).lower(),
    "percent, twice": lambda s: urllib.parse.quote(urllib.parse.quote(s)),
    "html": html.escape,
    "html, text only": lambda s: html.escape(s, quote=False),
    "html of PHP": lambda s: html.escape(s).replace("&#x27;", "&#039;"),
    "html of Go": lambda s: html.escape(s).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "html of mustache": lambda s: html.escape(s).replace("/", "&#x2F;").replace("=", "&#x3D;").replace("`", "&#x60;"),
    "html, all decimal": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "html, all hex": lambda s: "".join(f"&#x{ord(c):x};" for c in s),
    "html, all hex, upper-case": lambda s: "".join(f"&#X{ord(c):X};" for c in s),
    "html, twice": lambda s: html.escape(html.escape(s)),
    "html of percent": lambda s: html.escape(urllib.parse.quote(s, safe="&'")),
    "json in json": lambda s: json.dumps(json.dumps(s)),
    "percent of json": lambda s: urllib.parse.quote(json.dumps(s)[1:-1]),
    "html of json of PHP": lambda s: html.escape(json.dumps(s)[1:-1].replace("/", "\\/")),
    "html, specials decimal": lambda s: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in s),
    "html, specials hex": lambda s: "".join(c if c.isalnum() else f"&#x{ord(c):X};" for c in s),
    "json": lambda s: json.dumps(s)[1:-1],
    "json of PHP": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "json of Go": lambda s: json.dumps(s)[1:-1].replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
    "json, slash as escape": lambda s: json.dumps(s)[1:-1].replace("/", "\\u002F"),
    "json, all": lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
    "json, all, upper-case": lambda s: "".join(f"\\u{ord(c):04X}" for c in s),
    "json, specials": lambda s: "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in s),
    "hex bytes": lambda s: "".join(f"\\x{ord(c):02x}" for c in s),
    "hex": lambda s: s.encode().hex(),
    "hex, upper-case": lambda s: s.encode().hex().upper(),
}


@settings(deadline=None)  # the machine may be busy
@given(secret=secrets, before=surroundings, after=surroundings)
@example(secret=SECRET, before="", after="")
@example(secret="a b c d e/f", before="x", after="y")
@example(secret="0  0000000", before="", after="")
@example(secret="00.0.0.0", before="", after="")
@example(secret="key-192.168.100.200", before="", after="")
def test_no_form_of_a_secret_is_left_in_a_text(secret, before, after):
    mask = mask_for(secret)
    for form, write in TEXT_FORMS.items():
        shown = write(secret)
        masked, count = mask.text(before + shown + after)
        assert count >= 1, form
        assert shown not in masked, form


@pytest.mark.parametrize("urlsafe", [False, True])
@settings(deadline=None)  # the machine may be busy
@given(secret=secrets, before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_no_base64_that_holds_a_secret_at_any_alignment_is_left(urlsafe, secret, before, after):
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    shown = encode(before + secret.encode() + after).decode()
    masked, count = mask_for(secret).text(f"<{shown}>")
    assert count >= 1
    for start in range(len(masked)):  # whatever is left decodes to no more than the characters at the edges
        for skip in range(4):
            piece = masked[start + skip :].replace("-", "+").replace("_", "/")
            assert secret.encode() not in _lenient_b64decode(piece)
        if start > 12:
            break


@pytest.mark.parametrize("escape", [("+", "%2B"), ("/", "%2F"), ("+", "%2b"), ("/", "%2f"), ("/", "\\/")])
def test_no_base64_whose_signs_are_escaped_is_left(escape):
    secret = "value~~~???>>>~~~???>>>"  # its base64 contains both signs, and no part by which it could be found
    shown = base64.b64encode(secret.encode()).decode().replace(*escape)
    assert shown != base64.b64encode(secret.encode()).decode()
    masked, count = mask_for(secret).text(f"<{shown}>")
    assert (masked, count) == (f"<{REPLACEMENT}=>", 1)


def _lenient_b64decode(text: str) -> bytes:
    kept = "".join(c for c in text if c.isalnum() or c in "+/")
    return base64.b64decode(kept[: len(kept) // 4 * 4])


@settings(deadline=None)  # the machine may be busy
@given(
    secret=secrets,
    value=st.recursive(st.text() | st.integers() | st.none(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)),
)
def test_no_string_or_key_of_a_value_keeps_a_secret(secret, value):
    mask = mask_for(secret)
    masked, count = mask.value({"a": [secret, value], f"x{secret}y": value, "n": {"m": f"<{secret}>"}})
    assert count >= 3
    assert secret not in " ".join(_strings(masked))


def _strings(value) -> list[str]:
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (key, *_strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


@settings(deadline=None)  # the machine may be busy
@given(text=st.text(max_size=200))
def test_what_shows_no_secret_is_returned_as_it_is(text):
    assert mask_for("an-unlikely-secret-value").text(text) == (text, 0)


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({"Authorization": "Bearer abcdefgh"}, "abcdefgh"),
        ({"Authorization": "Bearer abcdefgh"}, "Bearer abcdefgh"),
        ({"Authorization": "Basic " + base64.b64encode(b"username:password").decode()}, "username"),
        ({"Authorization": "Basic " + base64.b64encode(b"username:password").decode()}, "password"),
        ({"Authorization": "basic " + base64.b64encode(b"bob:bobspass").decode().rstrip("=")}, "bobspass"),
        ({"Authorization": "Basic " + base64.b64encode(b"bob:pass1").decode()}, "bob:pass1"),
        ({"Authorization": "Basic abcde:no-base64"}, "abcde:no-base64"),
        (
            {"Authorization": "Basic " + base64.b64encode(b"\xff:not-utf-8").decode()},
            base64.b64encode(b"\xff:not-utf-8").decode(),
        ),
        ({"Authorization": 'Token token="abcdefghij"'}, "abcdefghij"),
        ({"X-Key": "Key first part two"}, "first part two"),
        ({"Cookie": "session=abcdefghij; theme=dark"}, "abcdefghij"),
        ({"Cookie": "theme=dark; session=abcdefghij; csrf=klmnopqrst"}, "abcdefghij"),
        ({"Cookie": "theme=dark; session=abcdefghij; csrf=klmnopqrst"}, "klmnopqrst"),
        ({"Authorization": 'Digest username="abcdefgh", nonce="ijklmnopqr"'}, "ijklmnopqr"),
        ({"X-Key": "sk_live_0123456789abcdefXYZ"}, "0123456789abcdefXYZ"),
    ],
)
def test_the_parts_of_a_header_are_hidden_too(headers, shown):
    assert shown not in mask_of(headers).text(f"got {shown}.")[0]


@pytest.mark.parametrize("name", ["Content-Type", "accept", "USER-AGENT"])
def test_public_headers_are_no_secrets(name):
    assert mask_of({name: "application/vnd.own+json"}).text("application/vnd.own+json")[1] == 0


@pytest.mark.parametrize(("length", "hidden"), [(15, 0), (16, 1), (17, 1)])
def test_letters_and_digits_are_hidden_alone_from_sixteen_on(length, hidden):
    core = ("a1" * 9)[:length]
    assert mask_for(f"--{core}--").text(f"<{core}>")[1] == hidden
    assert mask_of(endpoint=Endpoint("https", "a.io", 443, f"/in/{core[:-1]}-/{core}-word")).text(core)[1] == hidden


def test_each_long_run_of_letters_and_digits_is_hidden_alone():
    cores = "a1" * 8, "b2" * 8
    path = Endpoint("https", "a.io", 443, f"/in/{'--'.join(cores)}/x")
    for mask in (mask_for("--".join(cores)), mask_of(endpoint=path)):
        assert mask.text(" ".join(cores)) == (f"{REPLACEMENT} {REPLACEMENT}", 2)


@pytest.mark.parametrize(("length", "hidden"), [(11, 0), (12, 1), (13, 1)])
def test_a_segment_of_letters_and_digits_is_hidden_alone_from_twelve_on(length, hidden):
    segment = "ab-1cd-2ef-3g"[:length]
    assert mask_of(endpoint=Endpoint("https", "a.io", 443, f"/in/{segment}/x")).text(f"<{segment}>")[1] == hidden


def test_a_segment_that_is_a_uuid_is_hidden_alone_even_if_it_has_only_digits():
    for segment, hits in (("12345678-1234-1234-1234-123456789012", 1), ("12345678-1234-1234-1234-12345678901", 0)):
        mask = mask_of(endpoint=Endpoint("https", "a.io", 443, f"/in/{segment}/x"))
        assert mask.text(f"<{segment}>")[1] == hits


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", range(3))
def test_base64_with_signs_is_hidden_whose_letters_have_changed_their_case(encode, before, change):
    shown = encode(b"." * before + b"planted ???>>>~~~ key").decode()
    assert {"+", "/"} & set(shown) or {"-", "_"} & set(shown)
    assert mask_for("planted ???>>>~~~ key").text(change(shown))[1] == 1


def test_what_is_shorter_than_eight_characters_is_not_looked_for():
    mask = mask_of({"X-Key": "1234567"}, Endpoint("https", "a.io", 443, "/post"))
    assert mask.text("1234567 a.io /post")[1] == 0
    assert mask.text("see https://a.io/post") == (f"see {REPLACEMENT}", 1)
    assert mask_for("12345678").text("12345678") == (REPLACEMENT, 1)
    texts = mask_for("a-secret").with_texts(["1234567", "abcdefgh"])
    assert texts.text("1234567 abcdefgh") == (f"1234567 {REPLACEMENT}", 1)


@pytest.mark.parametrize(
    "shown",
    [
        ENDPOINT.url,
        "https://hooks.partner-service.com:8443/services/T0/in%20box",
        "hooks.partner-service.com:8443",
        "hooks.partner-service.com",
        "HOOKS.Partner-Service.COM",
        "/services/T0/in%20box",
        "/services/T0/in box",
        "services/T0/in%20box",
        "/services/T0/in%20box?token=ab%2Fcd%20ef+gh&v=2",
        "ab%2Fcd%20ef+gh",
        "ab/cd ef+gh",
        "ab/cd ef gh",
        urllib.parse.quote(ENDPOINT.url, safe=""),
        html.escape(ENDPOINT.url),
        ENDPOINT.url.replace("/", "\\/"),
    ],
)
def test_the_endpoint_is_hidden_however_it_is_named(shown):
    masked, count = mask_of().text(f"<{shown}>")
    assert (masked, count) == (f"<{REPLACEMENT}>", 1)


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
@pytest.mark.parametrize(
    "secret",
    [
        "planted-key-0",
        "hooks.partner-service.com",
        "services/T0/in%20box",
        "services/T0/in box",
        "ab%2Fcd%20ef+gh",
        "ab/cd ef gh",
        "planted-word",
    ],
)
def test_hex_and_base64_are_hidden_whose_letters_have_changed_their_case(secret, change):
    mask = mask_of({"Authorization": "Bearer planted-key-0", "Cookie": "a=planted-word"})
    for before in range(3):
        shown = b"." * before + secret.encode() + b"."
        for packed in (base64.b64encode(shown).decode(), shown.hex()):
            masked, count = mask.text(f"<{change(packed)}>")
            assert count == 1
            assert len(masked.replace(REPLACEMENT, "")) <= 2 + 8


def test_an_url_echoed_as_plain_http_shows_neither_host_nor_port_nor_path():
    masked, _ = mask_of().text("http://hooks.partner-service.com:8443/services/T0/in%20box?token=x")
    assert masked == f"http://{REPLACEMENT}?token=x"


def test_a_default_port_that_is_written_out_is_hidden_with_the_host():
    masked, _ = mask_of(endpoint=Endpoint("https", "postman-echo.com", 443, "/post")).text("host: postman-echo.com:443")
    assert masked == f"host: {REPLACEMENT}"


@pytest.mark.parametrize("path", ["/inbound-orders", "/inbound/orders"])
def test_a_path_is_hidden_without_its_first_slash_too(path):
    mask = mask_of(endpoint=Endpoint("https", "a.io", 443, path))
    assert mask.text(f"<{path.removeprefix('/')}>") == (f"<{REPLACEMENT}>", 1)


def test_a_short_path_is_hidden_where_it_follows_the_host():
    mask = mask_of(endpoint=Endpoint("https", "postman-echo.com", 443, "/post"))
    for shown in ("https://postman-echo.com/post", "postman-echo.com:443/post", "POSTMAN-ECHO.com/post"):
        assert mask.text(f"at {shown}") == (f"at {REPLACEMENT}", 1)


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
def test_a_short_host_with_its_short_path_is_hidden_in_hex_and_base64_whose_letters_have_changed_their_case(change):
    mask, shown = mask_of(endpoint=Endpoint("https", "a.io", 443, "/post")), b"a.io/post"
    for packed in (base64.b64encode(shown).decode(), shown.hex()):
        assert mask.text(f"<{change(packed)}>") == (f"<{REPLACEMENT}>", 1)


def test_a_path_of_one_segment_is_hidden_without_its_slash_too():
    mask = mask_of(endpoint=Endpoint("https", "a.io", 443, "/incoming-orders"))
    for shown in ("/incoming-orders", "incoming-orders"):
        assert mask.text(f"no {shown} here") == (f"no {REPLACEMENT} here", 1)


def test_the_endpoint_in_base64_or_hex_is_hidden():
    for shown in (base64.b64encode(b"x" + ENDPOINT.url.encode()).decode(), ENDPOINT.url.encode().hex()):
        masked, count = mask_of().text(shown)
        assert count >= 1
        for part in (b"partner", b"services", b"8443"):
            assert part.hex() not in masked
            assert part not in _lenient_b64decode(masked.replace(REPLACEMENT, "AAAA"))


def test_a_revealed_address_is_shown_but_header_values_and_fixed_query_values_never():
    mask = mask_of({"X-Key": "abcdefghij"}, reveal_url=True)
    masked, count = mask.text("https://hooks.partner-service.com:8443/services/T0/in%20box abcdefghij ab/cd ef+gh")
    assert masked.startswith("https://hooks.partner-service.com:8443/services/T0/in%20box ")
    assert count == 2


@pytest.mark.parametrize("port", [443, 8443])
@pytest.mark.parametrize("scheme", ["", "https://", "http://"])
@pytest.mark.parametrize("host", ["[2001:db8:77::7]", "203.0.113.77", "postman-echo.com"])
def test_every_spelling_of_a_host_and_its_port_is_hidden(host, scheme, port):
    endpoint = Endpoint("https", host, port, "/ab", "x=1")
    hosts = (
        host,
        host.strip("[]"),
        f"{host}:{port}",
        f"{host}:{port}/ab",
        f"{host}:{port}/ab?x=1",
        f"{endpoint.authority}/ab",
    )
    for shown in hosts:
        masked, count = mask_of(endpoint=endpoint).text(f"at {scheme}{shown}, it")
        assert (masked.replace(scheme, ""), count) == (f"at {REPLACEMENT}, it", 1), shown


@pytest.mark.parametrize("reveal_url", [False, True])
@pytest.mark.parametrize("secret", ["a b/c", "a-long-secret"])
def test_what_a_client_sends_to_its_token_endpoint_is_hidden_whole(secret, reveal_url):
    endpoint = Endpoint("https", "a.io", 443, "/")
    client = OAuth2Client(Endpoint("https", "login.vendor.com", 443, "/token"), "client-1", secret)
    mask = Mask.of(Shape("hook", "POST", reveal_url=reveal_url), Target(endpoint, credentials=Credentials(client)))
    for shown in (client.header, client.header.partition(" ")[2], f"client-1:{urllib.parse.quote_plus(secret)}"):
        assert mask.text(f"<{shown}>")[0].rstrip("=>") == f"<{REPLACEMENT}", shown
    assert mask.text("see https://login.vendor.com/token") == (f"see {REPLACEMENT}", 1)


def test_a_bare_token_in_the_query_is_hidden():
    mask = mask_of(endpoint=Endpoint("https", "a.io", 443, "/", "tok%2Fen-1234&v=1"))
    assert mask.text("tok%2Fen-1234 and tok/en-1234") == (f"{REPLACEMENT} and {REPLACEMENT}", 2)


def test_matches_that_overlap_are_hidden_whole_and_count_as_one():
    mask = mask_of({"X-One": "ABCDEFGHIJ", "X-Two": "GHIJKLMNOP"}, Endpoint("https", "a.io", 443, "/"))
    assert mask.text("<ABCDEFGHIJKLMNOP>") == (f"<{REPLACEMENT}>", 1)
    assert mask.text("ABCDEFGHIJABCDEFGHIJ") == (REPLACEMENT * 2, 2)


def test_a_place_at_which_several_parts_of_a_secret_are_found_is_one_hit(monkeypatch):
    monkeypatch.setattr(search, "MAX_HITS", 8)
    key = "sk_live_0123456789abcdefXYZ"
    assert mask_of({"X-Key": key}).text(" ".join([key] * 8)) == (" ".join([REPLACEMENT] * 8), 8)


def test_a_longer_secret_wins_over_one_that_it_contains():
    mask = mask_of({"X-One": "ABCDEFGH", "X-Two": "xxABCDEFGHyy"}, Endpoint("https", "a.io", 443, "/"))
    assert mask.text("<xxABCDEFGHyy>") == (f"<{REPLACEMENT}>", 1)


def test_keys_that_become_equal_all_stay():
    mask = mask_of({"X-One": "ABCDEFGH", "X-Two": "IJKLMNOP"}, Endpoint("https", "a.io", 443, "/"))
    masked, count = mask.value({"ABCDEFGH": 1, REPLACEMENT: 0, "IJKLMNOP": 2, f"{REPLACEMENT} 3": 3})
    assert masked == {f"{REPLACEMENT} 2": 1, REPLACEMENT: 0, f"{REPLACEMENT} 4": 2, f"{REPLACEMENT} 3": 3}
    assert count == 2


def test_a_secret_of_digits_is_hidden_in_numbers_too():
    mask = mask_for("1234567890")
    assert mask.value({"a": 1234567890, "b": 1.5, "c": True, "d": [91234567890]}) == (
        {"a": REPLACEMENT, "b": 1.5, "c": True, "d": [REPLACEMENT]},
        2,
    )


def test_an_ip_address_is_hidden_under_escapes_of_what_follows_it():
    mask = mask_of(endpoint=Endpoint("http", "127.0.0.1", 8080, "/in", "v=1"))
    for shown in (
        "127.0.0.1:8080",
        "127.0.0.1%3A8080%2Fin",
        r"http:\/\/127.0.0.1:8080\/in",
        "http://127.0.0.1:8080/in?v=1",
    ):
        assert mask.text(f"at {shown}") == (f"at {REPLACEMENT}", 1)


def test_a_secret_without_anything_to_anchor_at_is_found_under_escapes_too():
    mask = mask_for("a/b/c/d/e")
    assert mask.text("x%20a%2Fb%2Fc%2Fd%2Fe%20y") == (f"x%20{REPLACEMENT}%20y", 1)
    assert mask.text("nothing escaped") == ("nothing escaped", 0)
    assert mask_for("a b c d/e").text("x a b c d%2Fe y") == (f"x {REPLACEMENT} y", 1)


def test_an_address_that_is_part_of_a_secret_is_hidden_although_its_dots_are_escaped():
    shown = "x a%2Fb or 10%2E20%2E30%2E40 y"
    assert mask_for("a/b or 10.20.30.40").text(shown) == (f"x {REPLACEMENT} y", 1)


def test_an_endpoint_at_an_ip_address_is_looked_for_near_its_address_only(monkeypatch):
    monkeypatch.setattr(search, "MIN_WORK", 1_000)
    monkeypatch.setattr(search, "WORK_PER_BYTE", 0)
    mask = mask_of(endpoint=Endpoint("http", "10.20.30.40", 8080, "/in"))
    text = "some words " * 2_000 + "and%2Fsome%2Fothers" + " some words" * 2_000
    assert mask.text(text) == (text, 0)


def test_an_answer_that_is_nothing_but_hits_is_hidden_whole():
    assert mask_for("abcdefgh").text("abcdefgh" * 40_000) == (REPLACEMENT, 1)


def test_an_anchor_that_is_an_ordinary_word_hides_nothing_by_itself():
    mask = mask_of(endpoint=Endpoint("https", "api.data.com", 443, "/data"))
    ordinary = '{"data":1,"note":"a & b % c"},' * 40_000
    assert mask.text(ordinary) == (ordinary, 0)
    assert mask.text(ordinary + "https:\\/\\/api.data.com\\/data") == (ordinary + REPLACEMENT, 1)


def test_each_of_many_texts_is_masked_in_its_place():
    mask = mask_for("abcdefgh")
    value = [[f"é{n}", f"abcdefgh{n}é", {f"k{n}": "x\x00abcdefgh abcdefgh"}] for n in range(50)]
    expected = [[f"é{n}", f"{REPLACEMENT}{n}é", {f"k{n}": f"x\x00{REPLACEMENT} {REPLACEMENT}"}] for n in range(50)]
    assert mask.value(value) == (expected, 150)


def test_a_form_that_follows_the_start_of_an_anchor_still_shows():
    assert mask_of().shows(b"see https://hooks.partner-service.com:8443/services/T0/in%20box")
    assert not mask_of().shows(b"hooks of a partner")


@pytest.mark.parametrize("before", [0, 1, SLICE_BYTES - 4, SLICE_BYTES, SLICE_BYTES + 1, 5 * SLICE_BYTES - 4])
def test_a_secret_shows_wherever_it_stands(before):
    mask = mask_for("abcd/efgh")
    assert mask.shows(b"." * before + b"ABCD/efgh...")
    assert mask.hits(b"." * before + b"ABCD/efgh...") == 1
    assert mask.text("." * before + "abcd%2fefgh.") == ("." * before + REPLACEMENT + ".", 1)


def test_bytes_are_searched_as_they_are():
    assert mask_for("abcdefgh").hits(b"\xff\x00ABCDEFGH\xfe", is_text=False) == 1


def test_half_a_surrogate_pair_is_no_obstacle():
    assert mask_for("abcdefgh").text("\ud800abcdefgh\udc00") == (f"\ud800{REPLACEMENT}\udc00", 1)
    assert mask_for("abcdefgh").value(["\ud800", "abcdefgh"]) == (["\ud800", REPLACEMENT], 1)


def test_a_secret_that_is_part_of_the_replacement_does_not_make_every_answer_a_hit():
    assert mask_for("redacted").text(f"was {REPLACEMENT}")[1] == 0


@pytest.mark.parametrize("blank", "+_")
def test_a_secret_is_hidden_whose_blanks_are_written_as_forms_and_e_mail_headers_write_them(blank):
    secret = "the planted word"
    assert mask_for(secret).text(f"<{secret.replace(' ', blank)}>") == (f"<{REPLACEMENT}>", 1)


def test_a_target_without_anything_to_hide_hides_nothing():
    mask = mask_of(endpoint=Endpoint("https", "a.io", 443, "/"), reveal_url=True)
    assert mask.hits(b"anything") == 0
    assert mask.value({"any": "thing"}) == ({"any": "thing"}, 0)


def test_no_form_is_short():
    assert all(len(form) >= MIN_MASKED_LENGTH for form in forms_of(Needle("abcdefgh")))


def test_the_longest_registration_still_makes_a_mask_quickly():
    endpoint = Endpoint("https", "a" * 60 + ".example-host.com", 443, "/" + "p-/" * 600, "q=" + "a%20" * 30)
    started = time.perf_counter()
    mask = mask_of({f"X-{n}": f"{n}" + "k+/='\"<&" * 100 for n in range(8)}, endpoint)
    assert time.perf_counter() - started < 30
    assert mask.text(endpoint.url) == (REPLACEMENT, 1)


# -- signing secrets and credentials ---------------------------------------------------------------------------------

SIGNING_KEY = bytes([0xFB, 0xEF, *range(30)])
SIGNING_SECRET = "whsec_" + base64.b64encode(SIGNING_KEY).decode()


@pytest.mark.parametrize(
    "shown",
    [
        SIGNING_SECRET,
        SIGNING_SECRET.removeprefix("whsec_"),
        base64.urlsafe_b64encode(SIGNING_KEY).decode(),
        SIGNING_KEY.hex(),
        json.dumps({"secret": SIGNING_SECRET}),
        urllib.parse.quote(SIGNING_SECRET, safe=""),
    ],
)
@pytest.mark.parametrize("place", range(3))
def test_a_signing_secret_is_hidden_as_text_and_as_bytes(shown, place):
    others = ["whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in range(2)]
    signing = (*others[:place], SIGNING_SECRET, *others[place:])  # several during a rotation
    target = Target(Endpoint("https", "a.example.com", 443, "/"), signing=signing)
    masked, count = Mask.of(Shape("hook", "POST"), target).text(f"key: {shown}")
    assert count
    around = ('{"secret": "', '"}') if shown.startswith("{") else ("", "")
    assert masked.rstrip("=") == f"key: {around[0]}{REPLACEMENT}{around[1]}"
    assert Mask.of(Shape("hook", "POST"), target).hits(b"\x00" + SIGNING_KEY[1:] + b"\x00") == 0
    assert Mask.of(Shape("hook", "POST"), target).hits(b"\xff" + base64.b64encode(SIGNING_KEY))


@pytest.mark.parametrize("escape", ["&#233;", "\\u00e9", "\\u{e9}", "%u00e9"])
@pytest.mark.parametrize("key", [b"planted-key-of-24-bytes\xc3", b"\xa9planted-key-of-24-bytes"])
def test_an_escape_of_which_a_secret_s_bytes_have_one_part_is_hidden_whole(escape, key):
    signing = ("whsec_" + base64.b64encode(key).decode(),)
    mask = Mask.of(Shape("hook", "POST"), Target(Endpoint("https", "a.io", 443, "/"), signing=signing))
    shown = key.replace(b"\xc3", escape.encode()).replace(b"\xa9", escape.encode()).decode()
    assert mask.text(f"<{shown}>") == (f"<{REPLACEMENT}>", 1)


def test_bytes_of_a_secret_whose_halves_were_decoded_in_another_order_garble_no_text():
    """The byte between the halves is what stands between the decoded parts of an answer, too."""
    key = b"planted-first-half\xfeplanted-other-half"
    signing = ("whsec_" + base64.b64encode(key).decode(),)
    mask = Mask.of(Shape("hook", "POST"), Target(Endpoint("https", "a.io", 443, "/"), signing=signing))
    text = f"<{b'planted-other-half, '.hex()}> {base64.b64encode(b'... then planted-first-half').decode()}"
    masked, count = mask.text(text)
    before, _, after = masked.partition(REPLACEMENT)
    assert (count, text.startswith(before), after) == (1, True, "")


@pytest.mark.parametrize(
    "shown",
    ["pass:word-0123", "ada-lovelace:pass:word-0123", base64.b64encode(b"ada-lovelace:pass:word-0123").decode()],
)
def test_a_basic_login_is_hidden(shown):
    target = Target(
        Endpoint("https", "a.example.com", 443, "/"), credentials=Credentials(Basic("ada-lovelace", "pass:word-0123"))
    )
    assert shown not in Mask.of(Shape("hook", "POST"), target).text(f"you sent {shown}")[0]


@pytest.mark.parametrize("client_auth", [None, "basic", "post"])
def test_an_oauth_client_s_id_and_secret_are_hidden_however_it_sends_them(client_auth):
    endpoint = Endpoint("https", "a.example.com", 443, "/")
    client = OAuth2Client(endpoint, "client-0001", "client+secret/1", client_auth=client_auth)
    mask = Mask.of(Shape("hook", "POST"), Target(endpoint, credentials=Credentials(client)))
    shown = "client-0001 client+secret/1 client%2Bsecret%2F1"
    assert mask.text(shown) == (" ".join([REPLACEMENT] * 3), 3)


def test_each_token_among_a_token_request_s_parameters_is_hidden():
    endpoint = Endpoint("https", "a.example.com", 443, "/")
    further = {"api_key": "a1b2c3d4e5f6a7b8", "resource": "appointments", "device": "k9-0001-f3a2-77"}
    client = OAuth2Client(endpoint, "client-0001", token_params=further)
    mask = Mask.of(Shape("hook", "POST"), Target(endpoint, credentials=Credentials(client)))
    shown = " ".join(("client-0001", *further.values()))
    assert mask.text(shown) == (f"{REPLACEMENT} {REPLACEMENT} appointments {REPLACEMENT}", 3)


def test_further_texts_are_hidden_beside_what_a_mask_hid_before():
    mask = mask_for(SECRET)
    assert (
        mask.with_texts(["a-token-of-a-login", "short"]).text(f"{SECRET} a-token-of-a-login short")[0]
        == "[redacted] [redacted] short"
    )
    assert mask.with_texts([]) is mask
    assert mask.text("a-token-of-a-login")[1] == 0


def test_one_mask_of_several_hides_what_each_of_them_hides():
    for count in range(1, 5):
        texts = [f"secret-value-{number}" for number in range(count)]
        mask = Mask.of_all(map(mask_for, texts))
        assert mask.text(", ".join(texts)) == (", ".join([REPLACEMENT] * count), count)
    assert Mask.of_all([]).text("anything at all") == ("anything at all", 0)
