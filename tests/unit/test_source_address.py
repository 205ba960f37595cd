"""The source address of a request, and the refusal after too many failures from one address."""

import pytest
from falcon.testing import create_environ

from relay.authentication import source_address
from relay.authentication.source_address import FailedAuthentications, SourceAddresses
from relay.errors import RateLimited
from relay.settings.kinds import networks


def a_request(peer, forwarded=None):
    environ = create_environ(headers={} if forwarded is None else {"X-Forwarded-For": forwarded})
    environ["REMOTE_ADDR"] = peer
    return environ


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "found"),
    [
        ("", "198.51.100.7", None, "198.51.100.7"),
        ("", "198.51.100.7", "203.0.113.9", "198.51.100.7"),  # any caller can send that
        ("10.0.0.0/8", "198.51.100.7", "203.0.113.9", "198.51.100.7"),
        ("10.0.0.0/8", "10.1.2.3", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.0/8", "10.1.2.3", "192.0.2.1, 203.0.113.9", "203.0.113.9"),  # the caller wrote the first entry
        ("10.0.0.0/8", "10.1.2.3", "192.0.2.1, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("10.0.0.0/8", "10.1.2.3", "10.5.5.5, 10.9.9.9", "10.5.5.5"),
        ("10.0.0.0/8", "10.1.2.3", "192.0.2.1, nonsense, 10.9.9.9", "unknown"),
        ("10.0.0.0/8", "10.1.2.3", None, "unknown"),
        ("10.0.0.0/8", "10.1.2.3", "nonsense", "unknown"),
        ("10.0.0.0/8", "::ffff:10.1.2.3", "203.0.113.9", "203.0.113.9"),
        ("", "2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        ("fd00::/8", "fd00::1", "2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("", "", None, "unknown"),
    ],
)
def test_a_request_s_address_is_its_peer_s_or_what_a_trusted_proxy_says(trusted, peer, forwarded, found):
    assert SourceAddresses(networks(trusted)).of(a_request(peer, forwarded)) == found


SECONDS = [(0.0, 60), (1.0, 59), (59.9, 1)]


@pytest.mark.parametrize(("second", "left_s"), SECONDS)
def test_failures_are_limited_by_address_and_only_for_the_minute(monkeypatch, second, left_s):
    now = [1_000_020.0 + second]
    monkeypatch.setattr(source_address.time, "time", lambda: now[0])
    failures = FailedAuthentications(SourceAddresses(), 3)
    for _ in range(3):
        failures.add(a_request("198.51.100.7"))
    with pytest.raises(RateLimited) as error:
        failures.add(a_request("198.51.100.7"))
    assert error.value.retry_after_s == left_s
    failures.add(a_request("198.51.100.8"))
    now[0] += 60
    failures.add(a_request("198.51.100.7"))


def test_addresses_beyond_number_are_limited_together(monkeypatch):
    monkeypatch.setattr(source_address, "MAX_SOURCE_ADDRESSES", 10)
    failures = FailedAuthentications(SourceAddresses(), 5)
    for number in range(10):
        failures.add(a_request(f"198.51.100.{number}"))
    for number in range(10, 15):
        failures.add(a_request(f"198.51.100.{number}"))
    for _ in range(4):
        failures.add(a_request("198.51.100.0"))  # it is told apart as before
    with pytest.raises(RateLimited):
        failures.add(a_request("198.51.100.15"))


@pytest.mark.parametrize(("second", "left_s"), SECONDS)
@pytest.mark.parametrize("most", [1, 3])
def test_who_has_failed_too_often_is_not_looked_at_where_a_secret_can_be_guessed(monkeypatch, most, second, left_s):
    now = [1_000_020.0 + second]
    monkeypatch.setattr(source_address.time, "time", lambda: now[0])
    failures = FailedAuthentications(SourceAddresses(), most)
    for _ in range(most):
        failures.check(a_request("198.51.100.7"))
        failures.add(a_request("198.51.100.7"))
    with pytest.raises(RateLimited) as error:
        failures.check(a_request("198.51.100.7"))
    assert error.value.retry_after_s == left_s
    failures.check(a_request("198.51.100.8"))
    now[0] += 60
    failures.check(a_request("198.51.100.7"))
