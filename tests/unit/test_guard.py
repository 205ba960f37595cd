"""The egress guard: which exact addresses may be dialled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.egress import AddressPolicy
from relay.errors import SettingsError

PUBLIC = "93.184.216.34"


def test_a_public_address_may_be_dialled_at_443_only():
    policy = AddressPolicy()
    assert policy.allows(PUBLIC, 443)
    assert not policy.allows(PUBLIC, 80)
    assert not policy.allows(PUBLIC, 8443)


def test_further_ports_open_beside_443():
    policy = AddressPolicy(ports=[8443])
    assert policy.allows(PUBLIC, 443)
    assert policy.allows(PUBLIC, 8443)


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ("0.255.255.255", "1.0.0.0"),
        ("10.255.255.255", "11.0.0.0"),
        ("100.64.0.0", "100.63.255.255"),
        ("100.127.255.255", "100.128.0.0"),
        ("127.255.255.255", "128.0.0.0"),
        ("169.254.0.0", "169.253.255.255"),
        ("172.16.0.0", "172.15.255.255"),
        ("172.31.255.255", "172.32.0.0"),
        ("192.0.0.255", "192.0.1.0"),
        ("192.0.2.0", "192.0.3.0"),
        ("192.31.196.255", "192.31.197.0"),
        ("192.52.193.0", "192.52.192.255"),
        ("192.88.99.255", "192.88.100.0"),
        ("192.168.255.255", "192.169.0.0"),
        ("192.175.48.255", "192.175.49.0"),
        ("198.19.255.255", "198.20.0.0"),
        ("198.51.100.255", "198.51.101.0"),
        ("203.0.113.255", "203.0.114.0"),
        ("224.0.0.0", "223.255.255.255"),
        ("255.255.255.255", "8.8.8.8"),
        ("168.63.129.16", "168.63.129.17"),
        ("2001:1ff:ffff::", "2001:200::"),
        ("2001:db8:ffff::", "2001:db9::"),
        ("2002:ffff::", "2003::"),
        ("2620:4f:8000::1", "2620:4f:8001::1"),
        ("3ffe:ffff::", "3fff:1000::"),
        ("3fff:fff::", "2a00::1"),
        ("4000::1", "3ffd::1"),
        ("1fff::1", "2000::1"),
    ],
)
def test_every_refused_network_ends_where_it_should(inside, outside):
    policy = AddressPolicy()
    assert not policy.allows(inside, 443)
    assert policy.allows(outside, 443)


def test_a_mapped_address_is_judged_as_its_ipv4():
    policy = AddressPolicy(allow=["10.1.0.0/16"], deny=["8.8.8.8"])
    assert policy.allows("::ffff:9.9.9.9", 443)
    assert policy.allows("::ffff:10.1.2.3", 443)
    assert not policy.allows("::ffff:8.8.8.8", 443)
    assert not policy.allows("::ffff:127.0.0.1", 443)


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "127.1", "0177.0.0.1", "0x7f000001", "1.2.3", "fe80::1%eth0", "2a00::1%1", " 8.8.8.8", "8.8.8.8\n",
     "[2a00::1]", "8.8.8.8/32", "8.8.8.8:443", "\u0668.8.8.8", "::g"],
)  # fmt: skip
def test_an_address_that_is_malformed_or_in_an_unusual_notation_is_refused(text):
    assert not AddressPolicy().allows(text, 443)
    assert not AddressPolicy(allow=["0.0.0.0/0", "::/0"]).allows(text, 443)


def test_deny_adds_to_what_is_refused():
    policy = AddressPolicy(deny=["93.184.0.0/16", "bad.example.com", "1.1.1.1:443"], ports=[8443])
    assert not policy.allows(PUBLIC, 443)
    assert not policy.allows("9.9.9.9", 443, "bad.example.com")
    assert policy.allows("9.9.9.9", 443, "good.example.com")
    assert not policy.allows("1.1.1.1", 443)
    assert policy.allows("1.1.1.1", 8443)


def test_allow_wins_over_deny_ports_and_tables():
    policy = AddressPolicy(allow=["127.0.0.1:8000"], deny=["127.0.0.0/8"])
    assert policy.allows("127.0.0.1", 8000)
    assert not policy.allows("127.0.0.1", 8001)
    assert not policy.allows("127.0.0.2", 8000)


def test_an_allowed_host_may_resolve_to_anything_but_only_for_its_own_registration():
    policy = AddressPolicy(allow=["erp.corp:8443"])
    assert policy.allows("10.0.0.1", 8443, "erp.corp")
    assert policy.allows("10.0.0.1", 8443, "ERP.corp")
    assert not policy.allows("10.0.0.1", 443, "erp.corp")
    assert not policy.allows("10.0.0.1", 8443, "other.corp")
    assert not policy.allows("10.0.0.1", 8443, "x.erp.corp")
    assert not policy.allows("10.0.0.1", 8443)


def test_an_ipv6_entry_with_a_port_stands_in_brackets():
    policy = AddressPolicy(allow=["[fd00::/8]:8443", "[::1]:9000", "fd01::5", "[fe80::7]"])
    assert policy.allows("fd12::1", 8443)
    assert not policy.allows("fd12::1", 443)
    assert policy.allows("::1", 9000)
    assert policy.allows("fd01::5", 1)
    assert policy.allows("fe80::7", 1)


def test_exempts_knows_names_and_literals():
    policy = AddressPolicy(allow=["127.0.0.0/8", "erp.corp:8443", "[::1]:9000", "localhost"])
    assert policy.exempts("127.0.0.1", 80)
    assert policy.exempts("erp.corp", 8443)
    assert not policy.exempts("erp.corp", 443)
    assert policy.exempts("[::1]", 9000)
    assert policy.exempts("::1", 9000)
    assert not policy.exempts("[::1]", 9001)
    assert policy.exempts("LOCALHOST", 5)
    assert not policy.exempts("example.com", 443)
    assert not AddressPolicy().exempts(PUBLIC, 443)


@pytest.mark.parametrize(
    "entry",
    ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "127.1", "0x7f.1", "a b", "host:", "host:0", "host:0443", "host:65536", "host:x",
     "[10.0.0.1]:80", "[::1", "::1]", "[::1]80", "[fe80::1%eth0]", "fe80::1%eth0", "under_score.com", "-a.com", "a-.com",
     "host.", ".host", "https://host", "host/8", "*.host", "fd00::/8:443:443:443:443:443:443:443", "f\u00fc.com", "[]:80"],
)  # fmt: skip
def test_a_malformed_entry_is_a_settings_error_that_does_not_quote_it(entry):
    with pytest.raises(SettingsError) as error:
        AddressPolicy(allow=["10.0.0.0/8", entry])
    assert "RELAY_EGRESS_ALLOW: entry 2" in str(error.value)
    assert not entry or entry not in str(error.value)
    with pytest.raises(SettingsError, match="RELAY_EGRESS_DENY: entry 1"):
        AddressPolicy(deny=[entry])


@pytest.mark.parametrize("port", [0, -1, 65_536, True, "443"])
def test_a_port_is_a_number_that_a_port_can_be(port):
    with pytest.raises(SettingsError):
        AddressPolicy(ports=[port])


@given(st.text(), st.integers(), st.none() | st.text())
def test_judging_never_raises(address, port, host):
    assert AddressPolicy(allow=["erp.corp"]).allows(address, port, host) in {True, False}


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_and_its_mapped_form_are_judged_alike(address):
    policy = AddressPolicy()
    assert policy.allows(str(address), 443) == policy.allows(f"::ffff:{address}", 443)


def test_a_site_s_own_prefix_of_nat64_is_refused_once_it_is_denied():
    """Its gateway turns the last four bytes into an IPv4 address; the guard cannot know the prefix."""
    inside = "2a00:1:64::a9fe:a9fe"  # 169.254.169.254
    assert AddressPolicy().allows(inside, 443)
    policy = AddressPolicy(deny=["2a00:1:64::/96"])
    assert not policy.allows(inside, 443)
    assert policy.allows("2a00:1:65::1", 443)
    for known in ("64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe"):
        assert not AddressPolicy().allows(known, 443)
