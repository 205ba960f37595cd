"""Many transfers, at once and one after another, and what they leave behind."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import gevent
import psutil
import pytest
from requests import Request

from relay.domain.invocation import Outcome
from relay.outbound import exchange, openings
from relay.outbound.gate import Gate
from relay.outbound.sender import Sender
from relay.process.clock import boot_time_s
from relay.request.rendering import OutgoingHeaders
from tests.counted import Counted
from tests.outbound import calling
from tests.receivers import (
    answer,
    closed_port,
    drips,
    echo,
    hangs_up,
    in_turn,
    json_answer,
    make_authority,
    once_set,
    receiver,
    slow,
)
from tests.timing import BUSY_S

IN_FLIGHT = 200


@pytest.fixture
def caller():
    with calling() as made:
        yield made


def test_two_hundred_transfers_run_at_once_and_each_gets_its_own_answer(caller):
    with receiver(slow(0.3, echo)) as r:
        begun = time.monotonic()
        calls = [
            gevent.spawn(caller.call, f"{r.url}?n={n}", f"body {n}".encode(), reference_id=f"ref-{n}", timeout_s=20)
            for n in range(IN_FLIGHT)
        ]
        gevent.joinall(calls, raise_error=True)
        assert time.monotonic() - begun < 30  # one after another they would take a minute
        assert set(r.receipts.values()) == {1}
    for n, call in enumerate(calls):
        echoed = json.loads(call.value.body)
        assert echoed["data"] == f"body {n}"
        assert echoed["url"].endswith(f"?n={n}")
        assert echoed["headers"]["webhook-id"] == f"ref-{n}"


def test_a_call_is_sent_with_so_many_functions(caller):
    """Counts from the request to the answer on an open connection, including the hub's callbacks."""
    with receiver(slow(0.05, json_answer(1))) as r:  # so slow that even a busy machine waits for each answer
        request = Request("POST", r.url, data=b"{}").prepare()
        request.headers = OutgoingHeaders({"Content-Type": "application/json", "webhook-id": "ref-1"})
        counts = []
        for _ in range(10):  # the first one opens the connection; an answer may come in more than one piece
            gate = Gate(boot_time_s() + 20)
            with Counted() as counted:
                sent = Sender(caller.transport).send(request, gate=gate, deadline_s=gate.deadline_s, repeatable=True)
            assert sent.outcome is Outcome.ANSWERED
            counts.append(counted.functions)
        assert r.connections == 1
    fewest = min(counts, key=Counter.total)
    assert 0 < fewest.total() <= 47, fewest  # 46, and 41 where nothing had to be waited for


def test_a_slow_endpoint_does_not_hold_up_a_quick_one(caller):
    with receiver(drips(0.05)) as slow_one, receiver(json_answer(1)) as quick_one:
        drips_on = [gevent.spawn(caller.call, slow_one.url, timeout_s=4) for _ in range(20)]
        gevent.sleep(0.1)
        for _ in range(20):
            assert caller.call(quick_one.url).outcome is Outcome.ANSWERED
        assert not any(call.ready() for call in drips_on)
        gevent.joinall(drips_on, raise_error=True)
        assert {call.value.outcome for call in drips_on} == {Outcome.ANSWER_TIMEOUT}


def test_other_greenlets_run_while_a_call_waits(caller):
    go_on = threading.Event()

    def tick():
        for _ in range(10):
            gevent.sleep(0.01)
        go_on.set()

    with receiver(once_set(go_on, answer())) as r:
        ticking = gevent.spawn(tick)
        assert caller.call(r.url, timeout_s=BUSY_S).outcome is Outcome.ANSWERED
    assert ticking.ready()


def test_thousands_of_calls_leave_no_sockets_and_no_handles(caller):
    process = psutil.Process()
    with receiver(in_turn(*[json_answer(1)] * 3, hangs_up(), json_answer(2))) as r:
        for _ in range(50):
            caller.call(r.url)
        before = process.num_fds()
        for _ in range(3000):
            caller.call(r.url)
        assert process.num_fds() <= before + 2
        assert len(caller.transport._idle) <= 2


def test_failing_calls_leave_no_sockets(caller):
    process = psutil.Process()
    dead = f"http://127.0.0.1:{closed_port()}/"
    with receiver(hangs_up(reset=True)) as r:
        for _ in range(20):
            caller.call(dead)
            caller.call(r.url)
        gevent.sleep(0.1)
        before = process.num_fds()
        for _ in range(300):
            caller.call(dead)
            caller.call(r.url)
        gevent.sleep(0.1)
        assert process.num_fds() <= before + 5


def test_a_transport_that_is_closed_keeps_no_connection():
    def dialled(port):
        return [each for each in psutil.Process().net_connections("tcp") if each.raddr and each.raddr.port == port]

    with receiver(answer()) as r:
        with calling() as caller:
            caller.call(r.url)
            assert len(dialled(r.port)) == 1
        assert dialled(r.port) == []


def test_the_number_of_open_connections_is_bounded():
    with calling(max_in_flight=8) as caller, receiver(slow(0.01, answer())) as r:
        calls = [gevent.spawn(caller.call, r.url, timeout_s=20) for _ in range(300)]
        gevent.joinall(calls, raise_error=True)
        assert {call.value.outcome for call in calls} == {Outcome.ANSWERED}
        assert r.connections <= 8 + 64


def test_a_burst_behind_tls_is_made_on_a_few_connections(tmp_path, monkeypatch):
    monkeypatch.setattr(openings, "MAX_PATIENCE_S", BUSY_S)
    monkeypatch.setattr(openings._Origin, "learn", lambda _self, _handshake_s: None)  # no call loses patience
    monkeypatch.setattr(openings, "IDLE_S", BUSY_S)
    monkeypatch.setattr(exchange, "UNREPEATABLE_IDLE_S", int(BUSY_S))  # no connection is too old for the second burst
    authority = make_authority(tmp_path)
    tls = authority.context("127.0.0.1")
    with calling(ca_file=authority.ca_file) as caller, receiver(json_answer(1), tls=tls) as r:
        for _ in range(2):
            calls = [gevent.spawn(caller.call, r.url, timeout_s=BUSY_S) for _ in range(IN_FLIGHT)]
            gevent.joinall(calls, raise_error=True)
            assert {call.value.outcome for call in calls} == {Outcome.ANSWERED}
        assert r.connections <= openings.FREE_CONNECTIONS


def test_a_slow_endpoint_behind_tls_has_every_call_at_once(tmp_path):
    authority, go_on = make_authority(tmp_path), threading.Event()
    tls = authority.context("127.0.0.1")
    with calling(ca_file=authority.ca_file) as caller, receiver(once_set(go_on, answer()), tls=tls) as r:
        calls = [gevent.spawn(caller.call, r.url, timeout_s=BUSY_S) for _ in range(IN_FLIGHT)]
        with gevent.Timeout(BUSY_S):
            while len(r.requests) < IN_FLIGHT:
                gevent.sleep(0.01)
        go_on.set()
        gevent.joinall(calls, raise_error=True)
        assert {call.value.outcome for call in calls} == {Outcome.ANSWERED}
        assert r.connections == IN_FLIGHT


def test_a_call_that_waits_for_a_connection_still_ends_at_its_deadline():
    with calling(max_in_flight=1) as caller, receiver(slow(9, answer())) as r:
        holding = [gevent.spawn(caller.call, r.url, timeout_s=8) for _ in range(1 + 64)]
        with gevent.Timeout(7):
            while r.connections < len(holding):
                gevent.sleep(0.01)
        waiting = [gevent.spawn(caller.call, r.url, timeout_s=1) for _ in range(15)]
        begun = time.monotonic()
        gevent.joinall(waiting, raise_error=True)
        assert time.monotonic() - begun < 5
        gevent.joinall(holding, raise_error=True)
    assert [call.value.outcome for call in waiting] == [Outcome.CONNECT_TIMEOUT] * 15
    assert [call.value.outcome for call in holding] == [Outcome.ANSWER_TIMEOUT] * 65


@pytest.mark.parametrize("patched", [False, True], ids=["plain", "monkey patched"])
def test_calls_work_with_and_without_monkey_patching(patched):
    program = """
import sys
if sys.argv[1] == "True":
    from gevent import monkey
    monkey.patch_all()
import gevent
from tests.counted import Counted
from tests.outbound import calling
from tests.receivers import json_answer, receiver
with receiver(json_answer(1)) as r, calling() as caller:
    calls = [gevent.spawn(caller.call, r.url) for _ in range(20)]
    gevent.joinall(calls, raise_error=True)
    print({str(call.value.outcome) for call in calls}, caller.call(r.url).status)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(patched)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.strip() == "{'answered'} 200", done.stderr
