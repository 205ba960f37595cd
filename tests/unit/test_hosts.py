"""The grammar of hosts and ports; all readers of a host understand it alike."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.egress import AddressPolicy
from relay.errors import SettingsError
from relay.settings.kinds import labels
from relay.store.api_keys.rules import origin_fault
from relay.text.hosts import is_host_name, is_label, read_port

LABELS = st.text(string.ascii_lowercase + string.digits + "-_.A", min_size=1, max_size=66)


def is_taken(read, text):
    try:
        read(text)
    except (SettingsError, ValueError):
        return False
    return True


@given(LABELS)
def test_a_label_is_one_to_every_reader(text):
    """`.io` is appended, because a host name must not end in a number. Other readers also convert it to lower case."""
    lower = text.lower()
    every = [is_label(part) for part in lower.split(".")]
    assert is_host_name(f"{lower}.io") is all(every)
    assert is_taken(lambda name: AddressPolicy(allow=[name]), f"{text}.io") is all(every)
    assert (origin_fault(f"https://{lower}.io") is None) is all(every)
    assert is_taken(labels, lower) is (len(lower.lstrip(".").split(".")) == 1 and is_label(lower.lstrip(".")))


def test_a_host_name_is_never_what_a_resolver_takes_for_an_address():
    assert is_host_name("a.b-c.xn--p1ai")
    assert is_host_name("3com.com")
    for text in ("127.1", "a.1", "0x7f", "a.0x7f", "1", "a..b", "a.b.", "A.b", "a_b", "a" * 64, "a." * 127 + "aa"):
        assert not is_host_name(text)


@pytest.mark.parametrize("length", [250, 252, 253, 254, 255])
def test_a_host_name_has_at_most_253_characters(length):
    name = "abc." * 61 + "x" * (length - 244)
    assert len(name) == length
    assert is_host_name(name) is (length <= 253)


@pytest.mark.parametrize("length", [1, 2, 62, 63, 64])
def test_a_label_has_at_most_63_characters(length):
    assert is_label("x" * length) is is_host_name(f"{'x' * length}.io") is (length <= 63)


@pytest.mark.parametrize(("digits", "port"), [("1", 1), ("65535", 65_535), ("443", 443)])
def test_a_port_is_read(digits, port):
    assert read_port(digits) == port


@pytest.mark.parametrize("digits", ["", "0", "0443", "65536", "100000", "+1", "1 ", "1\n", "\u0661", "x"])
def test_an_invalid_port_is_not_read(digits):
    assert read_port(digits) is None
