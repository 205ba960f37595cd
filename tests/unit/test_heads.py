"""The final answer's header block among all that libcurl hands over, and how long the parts of an exchange took."""

from types import SimpleNamespace

import pycurl
import pytest

from relay.outbound.heads import Head
from relay.outbound.timings import timings_of

LINES = [
    b"HTTP/1.1 103 Early Hints\r\n",
    b"Content-Type: interim/type\r\n",
    b"\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"Content-TYPE:  text/plain \r\n",
    b"X-Name: caf\xe9\r\n",
    b"\r\n",
    b"Retry-After: 3\r\n",
]


def test_the_final_block_is_read_and_interim_answers_and_trailers_are_not():
    head = Head(LINES)
    assert head.get(b"content-type") == "text/plain"
    assert head.get(b"retry-after") is None
    assert list(head.items()) == [("Content-TYPE", "text/plain"), ("X-Name", "caf\xe9")]


def test_no_header_lines_are_an_empty_head():
    assert Head().get(b"content-type") is None
    assert list(Head().items()) == []


def timings(looked_up, connected, secured, answered, total, lines=(b"HTTP/1.1 200 OK\r\n", b"\r\n")):
    """Read the timings of a transfer whose parts ended so many seconds after its beginning; 0 for a missing part."""
    ends_s = {
        pycurl.NAMELOOKUP_TIME: looked_up,
        pycurl.CONNECT_TIME: connected,
        pycurl.APPCONNECT_TIME: secured,
        pycurl.STARTTRANSFER_TIME: answered,
        pycurl.TOTAL_TIME: total,
    }
    return timings_of(SimpleNamespace(easy=SimpleNamespace(getinfo=ends_s.get), header_lines=lines))


@pytest.mark.parametrize(
    ("ends_s", "parts_ms"),
    [
        ((0.01, 0.03, 0.0, 0.08, 0.1), (10, 20, None, 50)),
        ((0.01, 0.03, 0.07, 0.08, 0.1), (10, 20, 40, 10)),
        ((0.0, 0.0, 0.0, 0.08, 0.1), (None, None, None, 80)),  # on a kept connection
    ],
)
def test_each_part_of_an_exchange_has_the_time_from_the_end_of_the_part_before_it(ends_s, parts_ms):
    assert tuple(timings(*ends_s).values()) == (*parts_ms, 100)


def test_where_no_answer_began_there_is_no_time_until_it_did():
    assert timings(0.01, 0.03, 0.0, 0.08, 0.1, lines=())["firstByteMs"] is None
