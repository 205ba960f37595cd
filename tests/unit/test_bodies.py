import io

import falcon
import pytest
from falcon.testing import create_environ

from api.bodies import JSON, media_type, read_body
from relay.errors import BadParameter, TooLarge, UnsupportedMediaType


class Stream(io.BytesIO):
    """A request's stream that notes how far it was read, and ends where the client stops."""

    def __init__(self, content):
        super().__init__(content)
        self.read_bytes = 0

    def read(self, size=-1):
        assert size > 0, "read without a bound"
        piece = super().read(size)
        self.read_bytes += len(piece)
        return piece


def a_request(content=b"{}", **headers):
    environ = create_environ(method="POST", headers={"Content-Type": JSON})
    environ.pop("CONTENT_LENGTH", None)
    environ.update({"wsgi.input": Stream(content), "wsgi.input_terminated": True}, **headers)
    return falcon.Request(environ)


def test_a_body_is_read_whole_with_and_without_a_length():
    for length in ({}, {"CONTENT_LENGTH": "200000"}, {"HTTP_TRANSFER_ENCODING": "chunked"}):
        assert read_body(a_request(b"x" * 200_000, **length), 200_000) == b"x" * 200_000


def test_a_stream_of_which_nobody_says_that_it_ends_is_not_read_beyond_the_length():
    request = a_request(b"{}GET / HTTP/1.1", CONTENT_LENGTH="2")
    request.env["wsgi.input_terminated"] = False
    assert read_body(request, 100) == b"{}"
    assert request.env["wsgi.input"].read_bytes == 2


def test_without_a_length_on_such_a_stream_there_is_no_body():
    request = a_request()
    request.env["wsgi.input_terminated"] = False
    assert read_body(request, 100) == b""


def test_a_body_too_large_by_its_length_is_not_read_at_all():
    request = a_request(b"x" * 1000, CONTENT_LENGTH="1000")
    with pytest.raises(TooLarge):
        read_body(request, 999)
    assert request.env["wsgi.input"].read_bytes == 0


def test_a_body_without_a_length_is_read_just_to_the_cap():
    request = a_request(b"x" * 500_000, HTTP_TRANSFER_ENCODING="chunked")
    with pytest.raises(TooLarge):
        read_body(request, 100_000)
    assert request.env["wsgi.input"].read_bytes == 100_001


@pytest.mark.parametrize("length", ["two", "-1", "+2", "0x2", "2, 2", "9" * 20, "\u0662"])
def test_a_length_that_is_no_number_is_refused(length):
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
        {"CONTENT_TYPE": ""},
    ],
)
def test_encoded_bodies_and_other_types_are_refused(headers):
    with pytest.raises(UnsupportedMediaType):
        media_type(a_request(**headers), (JSON,))
