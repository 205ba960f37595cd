"""An API behind each of the proxies of deploy/proxy, under attack: nobody else is refused or waits."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import psutil
import pytest

from tests.integration.api_harness import own_api
from tests.integration.proxies import PROXIES, behind
from tests.integration.test_api_siege import BROKEN_CHUNKS, MIB, answer_of, connected, head, other_caller

#: nginx takes these as complete: nothing is missing of the first, and a line may end without CR.
READ_AS_WHOLE = {"has nothing but a last chunk", "has a chunk shorter than it says"}
CHUNK = b"100000\r\n" + b" " * MIB + b"\r\n"
MEDIAN_S = 1  # of twenty calls; each may wait for the machine


@pytest.fixture(scope="module")
def running():
    with own_api(threads=48) as harness:
        yield harness


@pytest.fixture(scope="module", params=PROXIES)
def api(running, request):
    with behind(request.param, running) as proxied:
        yield proxied


def are_served(api):
    """Make calls of another plugin; each is accepted, and half of them at once."""
    waits_s = sorted(other_caller(api) for _ in range(20))
    assert waits_s[10] < MEDIAN_S


def test_an_awaited_call_is_answered_as_without_a_proxy(api):
    with api.hand_worker(data="there"):
        answer = api.trigger()
    assert answer.status_code == 200
    assert answer.json()["data"] == "there"


@pytest.mark.parametrize(
    ("line", "begun"),
    [
        ("Content-Length: 1000", b"{"),
        ("Transfer-Encoding: chunked", b"5\r\n{"),
        ("Content-Length: 200000", b" " * 100_000),
    ],
    ids=["short", "chunked", "large"],
)
def test_four_hundred_slow_bodies_keep_nobody_out(api, line, begun):
    with connected(api, 400) as slow:
        for connection in slow:
            connection.sendall(head(api, line) + begun)
        are_served(api)


def test_four_hundred_slow_heads_keep_nobody_out(api):
    with connected(api, 400) as slow:
        for connection in slow:
            connection.sendall(b"POST /v1/triggers HTTP/1.1\r\nHost: relay\r\nX-A")
        are_served(api)


def test_fifteen_hundred_idle_connections_keep_nobody_out(api):
    with connected(api, 1500):
        are_served(api)


def test_a_chunked_body_without_end_is_refused_and_takes_no_memory_of_the_api(api):
    (process,) = psutil.Process(api.process.pid).children()
    before = process.memory_info().rss
    with connected(api, 1) as (connection,):
        connection.sendall(head(api, "Transfer-Encoding: chunked"))
        connection.settimeout(20)
        with suppress(OSError):
            for _ in range(400):
                connection.sendall(CHUNK)
        assert answer_of(connection)[0] in {413, None}  # None: a reset has overtaken it
    are_served(api)
    assert process.memory_info().rss - before < 64 * MIB


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_too_large_is_a_problem_document(api, chunked):
    body = b'{"data":"' + b"x" * (12 * MIB) + b'"}'
    lines = ["Transfer-Encoding: chunked"] if chunked else [f"Content-Length: {len(body)}"]
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    with connected(api, 1) as (connection,):
        connection.settimeout(20)
        answer = b""
        try:
            connection.sendall(head(api, *lines, "Connection: close") + sent)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before everything was sent
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass
    if answer:  # otherwise a reset has overtaken it
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"code":"too_large"' in answer


@pytest.mark.parametrize("size", [2, 100_000, 7 * MIB])
def test_a_chunked_body_is_accepted_whole(api, size):
    text = b'{"data":"' + b"x" * size + b'"}'
    pieces = [text[at : at + 65_536] for at in range(0, len(text), 65_536)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    with connected(api, 1) as (connection,):
        connection.sendall(head(api, "Transfer-Encoding: chunked", "Prefer: respond-async", "Connection: close"))
        connection.sendall(body + b"0\r\n\r\n")
        assert answer_of(connection) == (202, True)


def test_a_large_body_that_comes_slowly_is_read(api):
    body = b'{"data":"' + b"x" * (3 * 64 * 1024) + b'"}'
    with connected(api, 1) as (connection,):
        connection.sendall(head(api, f"Content-Length: {len(body)}", "Prefer: respond-async", "Connection: close"))
        for at in range(0, len(body), 64 * 1024):
            time.sleep(0.8)
            connection.sendall(body[at : at + 64 * 1024])
        assert answer_of(connection) == (202, True)


@pytest.mark.parametrize("case", sorted(BROKEN_CHUNKS.keys() - READ_AS_WHOLE))
def test_a_chunked_body_that_ends_early_or_lies_is_refused(api, case):
    sent, half_closed = BROKEN_CHUNKS[case]
    before = api.store.counts("acme").get("accepted", 0)
    with connected(api, 1) as (connection,):
        connection.sendall(head(api, "Transfer-Encoding: chunked", "Prefer: respond-async") + sent)
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
        assert answer_of(connection, 5)[0] in {400, 502, None}  # None: closed without an answer
    assert api.store.counts("acme").get("accepted", 0) == before
