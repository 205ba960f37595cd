"""The final answer's header block among all that libcurl hands over."""

from relay.outbound.heads import Head

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
