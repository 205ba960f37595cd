"""An endpoint's answer arrives whole, or is reported as one that cannot be accepted."""

import gzip
import json
import tracemalloc

import pytest

from relay.domain.invocation import Outcome, Sent
from relay.outbound.exchange import MANY_PIECES, MAX_HEADER_BYTES, MAX_HEADER_LINES
from tests.outbound import calling
from tests.receivers import (
    JPEG,
    answer,
    closed_port,
    echo,
    gzip_bomb,
    gzipped,
    image,
    in_turn,
    json_answer,
    raw_answer,
    receiver,
    redirect,
    says,
)

MIB = 1024 * 1024
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def caller():
    with calling() as made:
        yield made


@pytest.mark.parametrize("status", [200, 201, 204, 302, 304, 400, 401, 404, 429, 500, 503, 599])
def test_any_status_is_an_answer(caller, status):
    with receiver(answer(status)) as r:
        reply = caller.call(r.url)
    assert (reply.outcome, reply.sent, reply.status) == (Outcome.ANSWERED, Sent.ANSWERED, status)


def test_an_answer_brings_its_type_body_and_times(caller):
    script = answer(503, b"busy", ("Content-Type", "text/plain; charset=utf-8"), ("Retry-After", "7"))
    with receiver(script) as r:
        reply = caller.call(r.url)
    assert reply.content_type == "text/plain; charset=utf-8"
    assert reply.retry_after == "7"
    assert (reply.body, reply.response_bytes) == (b"busy", 4)
    assert 0 <= reply.duration_ms < 3000
    assert reply.started_at_ms > 1_600_000_000_000


def test_bytes_arrive_byte_for_byte(caller):
    with receiver(image) as r:
        assert caller.call(r.url).body == JPEG


def test_a_request_arrives_as_it_was_prepared_and_with_nothing_of_libcurls_own(caller):
    body = bytes(range(256)) * 300
    with receiver(answer()) as r:
        caller.call(r.url + "/%7Ea/../b?x=%20y&z", body, headers={"X-One": "1", "content-type": "image/jpeg"})
        request = r.requests[0]
    assert (request.method, request.target, request.body) == ("POST", "/hook/%7Ea/../b?x=%20y&z", body)
    assert dict(request.headers) == {
        "Host": f"127.0.0.1:{r.port}",
        "X-One": "1",
        "content-type": "image/jpeg",
        "webhook-id": "ref-1",
        "Content-Length": str(len(body)),
        "Accept-Encoding": "gzip, deflate",
    }


@pytest.mark.parametrize(
    ("method", "length"), [("GET", None), ("DELETE", "0"), ("POST", "0"), ("PUT", "0"), ("PATCH", "0")]
)
def test_no_body_is_ever_invented(caller, method, length):
    with receiver(echo) as r:
        caller.call(r.url, b"earlier body", method="PUT")  # the same handle is used again
        reply = caller.call(r.url, None, method=method)
        request = r.requests[1]
    assert reply.status == 200
    assert (request.method, request.body, request.header("content-length")) == (method, b"", length)
    assert request.header("content-type") is None
    assert request.header("transfer-encoding") is None
    assert request.header("expect") is None


def test_a_large_body_is_sent_at_once_without_asking_first(caller):
    with receiver(answer()) as r:
        caller.call(r.url, b"x" * (3 * MIB))
        assert len(r.requests[0].body) == 3 * MIB
        assert r.requests[0].header("expect") is None


def test_a_redirect_is_the_answer_and_nobody_follows_it(caller):
    with receiver(answer()) as elsewhere, receiver(redirect(elsewhere.url, 307)) as r:
        reply = caller.call(r.url)
        assert (reply.status, reply.body) == (307, b"moved")
        assert elsewhere.connections == 0


def test_cookies_are_not_kept(caller):
    with receiver(answer(200, b"", ("Set-Cookie", "a=b"))) as r:
        caller.call(r.url)
        caller.call(r.url)
        assert r.requests[1].header("cookie") is None


def test_interim_answers_are_passed_over(caller):
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Type: interim/type\r\n\r\n"
    with receiver(says(interim + raw_answer(200, b"{}", ("Content-Type", "application/json")))) as r:
        reply = caller.call(r.url)
    assert (reply.status, reply.content_type, reply.body) == (200, "application/json", b"{}")


def test_a_chunked_answer_with_trailers_is_read_and_its_trailers_are_not_headers(caller):
    raw = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Retry-After\r\n\r\n"
        b"5\r\nhello\r\n6\r\n world\r\n0\r\nRetry-After: 99\r\n\r\n"
    )
    with receiver(says(raw)) as r:
        reply = caller.call(r.url)
    assert (reply.outcome, reply.body, reply.retry_after) == (Outcome.ANSWERED, b"hello world", None)


def test_a_body_that_ends_with_its_connection_is_read(caller):
    with receiver(says(b"HTTP/1.0 200 OK\r\n\r\nold school")) as r:
        assert caller.call(r.url).body == b"old school"


def test_a_compressed_answer_is_decoded(caller):
    with receiver(gzipped(b"plain" * 1000, ("Content-Type", "text/plain"))) as r:
        reply = caller.call(r.url)
    assert (reply.body, reply.response_bytes) == (b"plain" * 1000, 5000)


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, br"])
def test_an_answer_without_a_body_needs_no_decoding(caller, coding):
    with receiver(answer(304, b"", ("Content-Encoding", coding))) as r:
        reply = caller.call(r.url)
    assert (reply.outcome, reply.status, reply.body) == (Outcome.ANSWERED, 304, b"")


def test_a_connection_is_kept_after_an_answer_that_cannot_be_decoded(caller):
    with receiver(in_turn(answer(200, b"no gzip", ("Content-Encoding", "gzip")), answer(200))) as r:
        assert caller.call(r.url).outcome is Outcome.ANSWER_REJECTED
        assert caller.call(r.url).outcome is Outcome.ANSWERED
        assert r.connections == 1


def test_a_header_without_a_value_arrives_without_one(caller):
    with receiver(answer()) as r:
        caller.call(r.url, headers={"X-Empty": "", "X-Full": "x"})
        (request,) = r.requests
    assert (request.header("x-empty"), request.header("x-full")) == ("", "x")


def test_a_stream_of_short_chunks_is_taken(caller):
    chunks = b"4\r\nword\r\n" * MANY_PIECES + b"0\r\n\r\n"
    with receiver(says(CHUNKED + chunks)) as r:
        assert caller.call(r.url).body == b"word" * MANY_PIECES


def test_an_answer_at_the_cap_is_taken_and_one_byte_more_is_refused():
    with (
        calling(max_response_bytes=5000) as caller,
        receiver(in_turn(answer(200, b"x" * 5000), answer(200, b"x" * 5001))) as r,
    ):
        assert len(caller.call(r.url).body) == 5000
        refused = caller.call(r.url)
    assert (refused.outcome, refused.sent, refused.status, refused.body) == (
        Outcome.ANSWER_REJECTED,
        Sent.ANSWERED,
        0,
        b"",
    )


def test_a_gzip_bomb_is_refused_within_bounded_memory(caller):
    with receiver(gzip_bomb(200 * MIB)) as r:
        tracemalloc.start()
        try:
            reply = caller.call(r.url, timeout_s=60.0)  # tracing makes it slow
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (reply.outcome, reply.sent, reply.body) == (Outcome.ANSWER_REJECTED, Sent.ANSWERED, b"")
    assert reply.response_bytes < 2 * MIB
    assert peak < 4 * MIB


@pytest.mark.parametrize(
    "raw",
    [
        raw_answer(200, b"not gzip at all", ("Content-Encoding", "gzip")),
        raw_answer(200, b"body", ("Content-Encoding", "no-such-coding")),
        raw_answer(200, gzip.compress(b"body"), ("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")),
        raw_answer(200, gzip.compress(b"body")[:-1], ("Content-Encoding", "gzip")),
        b"this is not HTTP\r\n\r\n" * 10,
    ],
    ids=["broken gzip", "unknown coding", "two codings", "cut gzip", "HTTP/0.9"],
)
def test_what_cannot_be_decoded_is_a_rejected_answer(caller, raw):
    with receiver(says(raw)) as r:
        reply = caller.call(r.url)
    assert (reply.outcome, reply.sent, reply.status) == (Outcome.ANSWER_REJECTED, Sent.ANSWERED, 0)


@pytest.mark.parametrize(
    "head",
    [
        [("X-Long", "v" * MAX_HEADER_BYTES)],
        [("X-Long", "v" * 1000)] * (MAX_HEADER_BYTES // 1000 + 1),
        [("X-Many", "v")] * (MAX_HEADER_LINES + 1),
        [("X-Endless", "v" * 300_000)],
    ],
    ids=["one long", "long together", "many", "longer than libcurl takes"],
)
def test_an_over_long_header_block_is_a_rejected_answer(caller, head):
    with receiver(answer(200, b"{}", *head)) as r:
        reply = caller.call(r.url)
    assert (reply.outcome, reply.sent, reply.status) == (Outcome.ANSWER_REJECTED, Sent.ANSWERED, 0)


@pytest.mark.parametrize(("beyond", "outcome"), [(0, Outcome.ANSWERED), (1, Outcome.ANSWER_REJECTED)])
@pytest.mark.parametrize("limit", ["lines", "bytes"])
def test_a_header_block_at_a_limit_is_taken_and_one_just_beyond_it_is_not(caller, limit, beyond, outcome):
    first, last = b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\n"
    if limit == "lines":
        more = b"X: y\r\n" * (MAX_HEADER_LINES - 3 + beyond)  # the last line is empty
    else:
        more = b"X: %b\r\n" % (b"y" * (MAX_HEADER_BYTES - len(first + b"X: \r\n" + last) + beyond))
    with receiver(says(first + more + last + b"{}")) as r:
        assert caller.call(r.url).outcome is outcome


@pytest.mark.parametrize(
    "one",
    [
        answer(200, b"{}", ("X-Long", "v" * (MAX_HEADER_BYTES // 2))),
        answer(200, b"{}", *[("X-Many", "v")] * (MAX_HEADER_LINES // 2)),
        answer(200, b"x" * (MIB * 3 // 4)),
        says(CHUNKED + b"1\r\nx\r\n" * (MANY_PIECES * 3 // 4) + b"0\r\n\r\n", then_close=False),
    ],
    ids=["header bytes", "header lines", "body bytes", "pieces"],
)
def test_each_answer_has_the_limits_for_itself_though_others_came_before_it(caller, one):
    with receiver(one) as r:
        replies = [caller.call(r.url) for _ in range(4)]
    assert [reply.outcome for reply in replies] == [Outcome.ANSWERED] * 4
    assert len({(len(reply.body), reply.response_bytes) for reply in replies}) == 1


@pytest.mark.parametrize(
    ("raw", "then_close", "outcome"),
    [
        (raw_answer(200, b"x" * 1_000, length=2_000), True, Outcome.CONNECTION_LOST),
        (raw_answer(200, b"x" * 1_000, length=2_000), False, Outcome.ANSWER_TIMEOUT),
        (raw_answer(200, b"x" * 1_000, ("Content-Encoding", "gzip")), True, Outcome.ANSWER_REJECTED),
        (CHUNKED + b"3e8\r\n" + b"x" * 1_000 + b"\r\nnot a chunk", True, Outcome.CONNECTION_LOST),
    ],
    ids=["cut", "unfinished", "undecodable", "malformed"],
)
def test_what_was_received_of_an_answer_that_is_not_taken_is_counted(caller, raw, then_close, outcome):
    with receiver(says(raw, then_close=then_close)) as r:
        reply = caller.call(r.url, timeout_s=2.0)
    assert (reply.outcome, reply.status, reply.body, reply.response_bytes) == (outcome, 0, b"", 1_000)


def test_endless_interim_answers_are_a_rejected_answer(caller):
    with receiver(says(b"HTTP/1.1 100 Continue\r\nX-Y: zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\r\n\r\n" * 5000)) as r:
        reply = caller.call(r.url)
    assert (reply.outcome, reply.sent) == (Outcome.ANSWER_REJECTED, Sent.ANSWERED)


def test_a_hundred_headers_are_taken(caller):
    with receiver(answer(200, b"{}", *[("X-Some", "v")] * 100)) as r:
        assert caller.call(r.url).outcome is Outcome.ANSWERED


def test_proxies_of_the_environment_are_ignored(caller, monkeypatch):
    dead = f"http://127.0.0.1:{closed_port()}"
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, dead)
    monkeypatch.setenv("no_proxy", "")
    with receiver(json_answer({"ok": True})) as r:
        reply = caller.call(r.url)
    assert json.loads(reply.body) == {"ok": True}


def test_credentials_of_a_netrc_file_are_not_sent(caller, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with receiver(answer()) as r:
        caller.call(r.url)
        assert r.requests[0].header("authorization") is None
