import io
import threading

import falcon
import pytest
from falcon.testing import create_environ

from api.bodies import NDJSON, SMALL_BYTES, Bodies, has_body, has_unread_body, media_type
from api.door import ApiRequest
from relay.errors import BadParameter, TooLarge, Unavailable, UnsupportedMediaType
from relay.text.media_types import JSON_TYPE


class Key:
    id = "k1"


class Stream(io.BytesIO):
    """A request's stream that records how far it was read, and ends where the client stops sending."""

    def __init__(self, content):
        super().__init__(content)
        self.read_bytes = 0

    def read(self, size=-1):
        piece = super().read(size)
        self.read_bytes += len(piece)
        return piece


def a_request(content=b"{}", **headers):
    environ = create_environ(method="POST", headers={"Content-Type": JSON_TYPE})
    environ.pop("CONTENT_LENGTH", None)
    environ.update({"wsgi.input": Stream(content)}, **headers)
    request = falcon.Request(environ)
    request.context.key = Key
    return request


def bodies(max_bytes, *, max_parsing_bytes=2**30):
    return Bodies(max_bytes=max_bytes, max_parsing_bytes=max_parsing_bytes)


def read_body(request, max_bytes):
    with bodies(max_bytes).read(request) as body:
        return body.content


def test_a_body_is_read_whole_with_a_length_and_in_chunks():
    for headers in ({"CONTENT_LENGTH": "200000"}, {"HTTP_TRANSFER_ENCODING": "chunked"}):
        assert read_body(a_request(b"x" * 200_000, **headers), 200_000) == b"x" * 200_000


def test_no_more_is_read_than_the_length():
    request = a_request(b"{}GET / HTTP/1.1", CONTENT_LENGTH="2")
    assert read_body(request, 100) == b"{}"
    assert request.env["wsgi.input"].read_bytes == 2


@pytest.mark.parametrize("headers", [{}, {"CONTENT_LENGTH": "0"}, {"CONTENT_LENGTH": ""}])
def test_without_a_length_or_chunks_there_is_no_body(headers):
    request = a_request(**headers)
    assert not has_body(request)
    assert read_body(request, 100) == b""
    assert request.env["wsgi.input"].read_bytes == 0


def test_a_body_too_large_by_its_length_is_not_read_at_all():
    request = a_request(b"x" * 1000, CONTENT_LENGTH="1000")
    with pytest.raises(TooLarge, match=r"larger than \d+ bytes"):
        read_body(request, 999)
    assert request.env["wsgi.input"].read_bytes == 0


def test_a_chunked_body_over_the_cap_is_refused():
    assert len(read_body(a_request(b"x" * 100_000, HTTP_TRANSFER_ENCODING="chunked"), 100_000)) == 100_000
    with pytest.raises(TooLarge, match=r"larger than \d+ bytes"):
        read_body(a_request(b"x" * 100_001, HTTP_TRANSFER_ENCODING="chunked"), 100_000)


def test_a_chunked_body_of_nothing_is_refused_since_the_server_says_as_much_of_a_broken_one():
    with pytest.raises(BadParameter):
        read_body(a_request(b"", HTTP_TRANSFER_ENCODING="chunked"), 100)


def test_large_bodies_in_hand_are_bounded_and_given_back_however_it_ends():
    size = SMALL_BYTES + 1
    reader = bodies(10 * SMALL_BYTES, max_parsing_bytes=3 * SMALL_BYTES)

    def large(length=size, content=b"x" * size):
        return a_request(content, CONTENT_LENGTH=str(length))

    with reader.read(large()), reader.read(large()):
        with pytest.raises(Unavailable) as error:
            reader.read(large())
        assert error.value.retry_after_s >= 1
        with reader.read(a_request(b"x" * SMALL_BYTES, CONTENT_LENGTH=str(SMALL_BYTES))) as small:
            assert len(small.content) == SMALL_BYTES  # small ones are not counted
    exact = bodies(10 * SMALL_BYTES, max_parsing_bytes=2 * size)
    with exact.read(large()), exact.read(large()), pytest.raises(Unavailable):
        exact.read(large())
    for _ in range(5):
        with pytest.raises(BadParameter):
            reader.read(large(length=size, content=b"x"))
    # Nobody knows how long a chunked body will be: it counts as the longest that may come.
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked"}
    with reader.read(a_request(b"x", **chunked)), pytest.raises(Unavailable):
        reader.read(large())
    # A body larger than the whole limit may be read if it is the only one.
    with reader.read(large(9 * SMALL_BYTES, b"x" * 9 * SMALL_BYTES)), pytest.raises(Unavailable):
        reader.read(large())
    with reader.read(large()):
        pass


@pytest.mark.parametrize("is_chunked", [False, True])
def test_large_bodies_are_parsed_one_at_a_time_and_small_ones_at_any_time(is_chunked):
    reader = bodies(10 * SMALL_BYTES)

    def body_of(length):
        framing = {"HTTP_TRANSFER_ENCODING": "chunked"} if is_chunked else {"CONTENT_LENGTH": str(length)}
        return reader.read(a_request(b"x" * length, **framing))

    with body_of(SMALL_BYTES + 1).parsing:
        other = threading.Thread(target=body_of(SMALL_BYTES + 1).parsing.__enter__, daemon=True)
        other.start()
        with body_of(SMALL_BYTES).parsing:
            other.join(0.1)
        assert other.is_alive()
    other.join(5)
    assert not other.is_alive()


@pytest.mark.parametrize("length", ["two", "-1", "+2", "0x2", "2, 2", "9" * 20, "\u0662"])
def test_a_length_that_is_not_a_number_is_refused(length):
    with pytest.raises(BadParameter):
        read_body(a_request(CONTENT_LENGTH=length), 100)


def test_a_length_beside_a_transfer_encoding_is_refused():
    with pytest.raises(BadParameter):
        read_body(a_request(CONTENT_LENGTH="2", HTTP_TRANSFER_ENCODING="chunked"), 100)


def test_a_body_that_ends_before_its_length_is_refused():
    with pytest.raises(BadParameter):
        read_body(a_request(CONTENT_LENGTH="3"), 100)


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_CONTENT_ENCODING": "gzip"},
        {"HTTP_CONTENT_ENCODING": "identity, gzip"},
        {"HTTP_TRANSFER_ENCODING": "gzip, chunked"},
        {"HTTP_TRANSFER_ENCODING": "chunked,chunked"},
        {"CONTENT_TYPE": "application/json;charset=utf-16"},
        {"CONTENT_TYPE": "application/json;v=1;charset=utf-16"},
        {"CONTENT_TYPE": "application/json;charset=utf-8; Charset=utf-16"},
        {"CONTENT_TYPE": ""},
    ],
)
def test_encoded_bodies_and_other_types_are_refused(headers):
    with pytest.raises(UnsupportedMediaType):
        media_type(a_request(**headers), (JSON_TYPE,))


def test_every_media_type_that_is_accepted_is_named():
    with pytest.raises(UnsupportedMediaType, match=f"^The body has to be {JSON_TYPE} or {NDJSON}.$"):
        media_type(a_request(CONTENT_TYPE="text/plain"), (JSON_TYPE, NDJSON))


@pytest.mark.parametrize(
    ("headers", "is_unread"),
    [
        ({}, False),
        ({"CONTENT_LENGTH": ""}, False),
        ({"CONTENT_LENGTH": "0"}, False),
        ({"CONTENT_LENGTH": "2"}, True),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, True),
    ],
)
def test_a_body_that_was_announced_is_unread_until_it_is_read(headers, is_unread):
    request = ApiRequest(a_request(**headers).env)
    assert has_unread_body(request) is is_unread
    read_body(request, 100)
    assert not has_unread_body(request)
