"""An API under attack without a proxy in front: other callers are served, whatever bodies and requests are sent."""

import json
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from statistics import median

import psutil
import pytest
import requests

from relay.authentication.source_address import PERIOD_S
from tests.integration.api_harness import own_api
from tests.timing import BUSY_S, least, wait_until

MIB = 1024 * 1024
LONGEST_WAIT_S = 1.5  # of another caller, beside a hostile body on a busy machine; a tenth of this on an idle one
MEDIAN_WAIT_S = 0.25
MEDIAN_RATIO = 8  # to what the same caller waits alone, if the machine is so busy that this is more


@pytest.fixture(scope="module")
def log_path(tmp_path_factory):
    return tmp_path_factory.mktemp("siege") / "log"


@pytest.fixture(scope="module")
def api(log_path):
    """An API with its default limits."""
    with log_path.open("wb") as log, own_api(log=log) as harness:
        yield harness


def head(api, *lines, key=None, path="/v1/webhooks/order/trigger"):
    fixed = [f"POST {path} HTTP/1.1", "Host: relay", f"Authorization: Bearer {key or api.key}"]
    return "\r\n".join([*fixed, "Content-Type: application/json", *lines, "", ""]).encode()


@contextmanager
def connected(api, count):
    with ExitStack() as stack:
        yield [stack.enter_context(closing(socket.create_connection(("127.0.0.1", api.port)))) for _ in range(count)]


def answer_of(connection, wait_s=20):
    """Return the status of the answer, and whether the connection ends."""
    connection.settimeout(wait_s)
    answer = b""
    while True:
        try:
            piece = connection.recv(65536)
        except TimeoutError:
            return _status(answer), False
        except ConnectionError:
            return _status(answer), True
        if not piece:
            return _status(answer), True
        answer += piece


def _status(answer):
    return int(answer.split(b" ")[1]) if answer else None


def other_caller(api):
    """Make a call of another plugin; return how many seconds its acceptance takes."""
    started = time.monotonic()
    answer = api.trigger("theirs", key=api.foreign_key, prefer="respond-async", timeout=30)
    assert answer.status_code == 202, answer.text
    return time.monotonic() - started


BROKEN_CHUNKS = {
    "ends before its last chunk": (b"2\r\n{}\r\n", True),
    "ends within a chunk": (b"9\r\n{}", True),
    "ends within a chunk's size": (b"2\r\n{}\r\n1", True),
    "ends after the last chunk's size": (b"2\r\n{}\r\n0\r\n", True),
    "has a chunk longer than it says": (b"2\r\n{}}\r\n0\r\n\r\n", False),
    "has a chunk shorter than it says": (b"3\r\n{}\r\n0\r\n\r\n", False),
    "has a size that is no number": (b"2\r\n{}\r\nzz\r\n\r\n", False),
    "has a negative size": (b"2\r\n{}\r\n-1\r\n\r\n", False),
    "has a size that overflows": (b"2\r\n{}\r\nfffffffffffffffffff\r\n", False),
    "has no size": (b"2\r\n{}\r\n\r\n\r\n", False),
    "has nothing but a last chunk": (b"0\r\n\r\n", False),
    "is no chunk": (b"{}", True),
}


@pytest.mark.parametrize("case", BROKEN_CHUNKS)
@pytest.mark.parametrize("path", ["/v1/webhooks/order/trigger", "/v1/triggers"])
def test_a_chunked_body_that_ends_early_or_lies_is_refused(api, case, path):
    sent, half_closed = BROKEN_CHUNKS[case]
    if path == "/v1/triggers":
        sent = sent.replace(b"{}", b"[]")
    before = api.store.counts("acme").get("accepted", 0)
    with connected(api, 1) as (connection,):
        connection.sendall(head(api, "Transfer-Encoding: chunked", "Prefer: respond-async", path=path) + sent)
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
        assert answer_of(connection, 5)[0] in {400, None}  # None: closed without an answer
    assert api.store.counts("acme").get("accepted", 0) == before


@pytest.mark.parametrize("hosts", [[], ["a", "b"], ["a", "a"]])
def test_a_request_without_exactly_one_host_is_refused(api, hosts):
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    request = f"GET /v1/webhooks HTTP/1.1\r\n{lines}Authorization: Bearer {api.key}\r\n\r\n"
    answer = api.raw(request.encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"bad_parameter"' in answer


HOSTILE = {
    "escaped quotes": ('{"data":"', '\\"', '"}'),
    "unicode escapes": ('{"data":"', "\\u0041", '"}'),
    "open quotes": ("[" * 33, '\\"', ""),
    "lists": ('{"data":[', "[],", "1]}"),
    "objects": ('{"data":[', "{},", "1]}"),
    "members": ('{"data":[', '{"a":1},', "1]}"),
    "numbers": ('{"data":[', "1,", "1]}"),
    "fractions": ('{"data":[', "1.5e3,", "1]}"),
    "texts": ('{"data":[', '"ab",', "1]}"),
    "spaces": ('{"data":1', " ", "}"),
    "digits": ('{"data":', "1", "}"),
    "names": ('{"data":{"', "k", '":1}}'),
    "backslashes": ('{"data":"', "\\\\", '"}'),
    "a text": ('{"data":"', "x", '"}'),
    "commas": ("", ",", ""),
    "brackets": ("", "[", ""),
}


@pytest.mark.parametrize("shape", HOSTILE)
def test_nobody_waits_for_a_hostile_body(api, shape):
    before, unit, after = HOSTILE[shape]
    body = (before + unit * ((8 * MIB - len(before) - len(after)) // len(unit)) + after).encode()
    other_caller(api)

    def share_of_allowed_wait():
        alone_s = median(other_caller(api) for _ in range(10))
        waits_s = waits_beside(api, body)
        return max(max(waits_s) / LONGEST_WAIT_S, median(waits_s) / max(MEDIAN_WAIT_S, MEDIAN_RATIO * alone_s))

    assert least(share_of_allowed_wait, wanted=1.0) <= 1.0


def waits_beside(api, body):
    """Return how many seconds each call of another caller takes while a body is sent three times."""
    over, waits_s = threading.Event(), []

    def watch():
        while not over.is_set():
            waits_s.append(other_caller(api))

    watcher = threading.Thread(target=watch)
    watcher.start()
    headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
    try:
        for _ in range(3):
            answer = api.call("POST", "/v1/webhooks/order/trigger", data=body, timeout=60, headers=headers)
            assert answer.status_code in {202, 400, 413, 422}
    finally:
        over.set()
        watcher.join()
    return waits_s


def test_sixteen_large_bodies_at_once_stay_within_a_budget(api):
    process = psutil.Process(api.process.pid).children(recursive=True)[0]
    body = json.dumps({"data": "x" * (8 * MIB - 100)}).encode()
    statuses, peak, over = [], [0], threading.Event()

    def send():
        headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
        answer = api.call("POST", "/v1/webhooks/order/trigger", data=body, headers=headers, timeout=60)
        statuses.append((answer.status_code, answer.headers.get("Retry-After")))

    def watch():
        while not over.is_set():
            peak[0] = max(peak[0], process.memory_info().rss)
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    callers = [threading.Thread(target=send) for _ in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    over.set()
    watcher.join()
    assert {status for status, _ in statuses} <= {202, 503}
    assert any(status == 202 for status, _ in statuses)
    assert all(retry_after for status, retry_after in statuses if status == 503)
    assert peak[0] < 1024 * MIB


def test_bodies_beyond_the_budget_are_refused_before_they_are_read(api):
    length = f"Content-Length: {8 * MIB}"
    with connected(api, 9) as connections:
        for connection in connections[:8]:
            connection.sendall(head(api, length) + b'{"data":"')
        time.sleep(0.3)
        connections[8].sendall(head(api, length, "Connection: close", key=api.foreign_key, path="/v1/triggers"))
        assert answer_of(connections[8], 5) == (503, True)
        other_caller(api)  # a small body does not count
    time.sleep(0.5)


def test_failed_authentications_are_limited_and_written_together(api, log_path):
    def attempt(**headers):
        headers = {"Authorization": "Bearer whk_0123456789abcdef_" + "x" * 43, **headers}
        return requests.get(f"{api.url}/v1/webhooks", headers=headers, timeout=10)

    # Failures are counted anew each minute: so all are made in one.
    wait_until(lambda: PERIOD_S - time.time() % PERIOD_S > 2 * BUSY_S, PERIOD_S)
    lines = log_path.read_text().count("\n")
    answers = (attempt() for _ in range(300))
    assert next(answers).status_code == 401
    answer = next(each for each in answers if each.status_code != 401)
    assert answer.status_code == 429
    assert answer.json()["code"] == "rate_limited"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert {each.status_code for each in answers} == {429}
    assert attempt(**{"X-Forwarded-For": "203.0.113.9"}).status_code == 429  # any caller can send that
    assert api.call("GET", "/v1/webhooks").status_code == 200  # a valid key works from every address
    assert log_path.read_text().count("\n") - lines < 20
