"""A request leaves at most once, whatever happens to the connection that carries it."""

import socket
import threading
import time
from contextlib import ExitStack

import gevent
import pytest

from relay.domain.invocation import Outcome, Sent
from relay.outbound import exchange, sockets
from relay.outbound.exchange import MAX_KEPT_BODY_BYTES, UNREPEATABLE_IDLE_S
from relay.outbound.gate import Gate
from relay.outbound.sockets import Sockets
from relay.process.clock import boot_time_s
from tests.outbound import calling
from tests.receivers import (
    Hangup,
    answer,
    answers_once_then_hangs_up,
    hangs_up,
    in_turn,
    json_answer,
    make_authority,
    never_answers,
    once_set,
    raw_answer,
    receiver,
    slow,
)
from tests.timing import BUSY_S, START_S, wait_until


@pytest.fixture(autouse=True)
def ageless(monkeypatch):
    """Makes no connection too old to be used again, however long a busy machine takes between two calls."""
    monkeypatch.setattr(exchange, "UNREPEATABLE_IDLE_S", int(BUSY_S))


@pytest.fixture
def caller():
    with calling() as made:
        yield made


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("body", [None, b'{"n":1}', b"x" * 300_000], ids=["no body", "small body", "large body"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE", "GET"])
def test_a_request_on_a_connection_that_dies_is_received_at_most_once(caller, method, body, reset):
    with receiver(answers_once_then_hangs_up(reset=reset)) as r:
        replies = [caller.call(r.url, body, method=method, reference_id=f"ref-{index}") for index in range(6)]
        assert max(r.receipts.values()) == 1
        assert len(r.requests) == 6
    assert [reply.outcome for reply in replies] == [Outcome.ANSWERED, Outcome.CONNECTION_LOST] * 3
    assert [reply.sent for reply in replies] == [Sent.ANSWERED, Sent.MAYBE] * 3


def test_a_repeatable_request_is_not_sent_twice_by_one_attempt_either(caller):
    with receiver(answers_once_then_hangs_up()) as r:
        for index in range(4):
            caller.call(r.url, None, method="GET", repeatable=True, reference_id=f"ref-{index}")
        assert max(r.receipts.values()) == 1


def test_over_tls_too_a_request_is_received_at_most_once(tmp_path):
    authority = make_authority(tmp_path)
    trap = answers_once_then_hangs_up()
    with calling(ca_file=authority.ca_file) as caller, receiver(trap, tls=authority.context("127.0.0.1")) as r:
        replies = [caller.call(r.url, reference_id=f"ref-{index}") for index in range(4)]
        assert max(r.receipts.values()) == 1
    assert [reply.outcome for reply in replies] == [Outcome.ANSWERED, Outcome.CONNECTION_LOST] * 2


def test_many_at_once_to_the_trap_are_each_received_at_most_once(caller):
    with receiver(answers_once_then_hangs_up(reset=True)) as r:
        for turn in range(3):
            calls = [gevent.spawn(caller.call, r.url, reference_id=f"ref-{turn}-{index}") for index in range(40)]
            gevent.joinall(calls, raise_error=True)
            assert {call.value.outcome for call in calls} <= {Outcome.ANSWERED, Outcome.CONNECTION_LOST}
        assert max(r.receipts.values()) == 1
        assert len(r.requests) == 120


def test_a_kept_alive_connection_is_used_again(caller):
    with receiver(answer()) as r:
        for _ in range(20):
            caller.call(r.url)
        assert r.connections == 1


def test_one_handle_calls_one_endpoint_after_the_other_and_the_first_again(caller):
    with receiver(answer()) as one, receiver(answer()) as other:
        for method, r in (("POST", one), ("PUT", other), ("GET", one), ("GET", other), ("POST", one)):
            caller.call(r.url, None if method == "GET" else b"{}", method=method)
        assert [request.method for request in one.requests] == ["POST", "GET", "POST"]
        assert [request.method for request in other.requests] == ["PUT", "GET"]
        assert [len(request.body) for request in one.requests] == [2, 0, 2]
    (handle,) = caller.transport._idle
    assert len(handle._fds) <= 1  # of its last transfer


def test_no_more_handles_are_kept_than_calls_are_in_flight():
    may_answer = threading.Event()
    with receiver(once_set(may_answer, answer())) as r, calling(max_in_flight=2) as caller:
        calls = [gevent.spawn(caller.call, r.url, timeout_s=START_S) for _ in range(6)]
        wait_until(lambda: len(r.requests) == 6, sleep=gevent.sleep)
        may_answer.set()
        gevent.joinall(calls, raise_error=True)
        assert len(caller.transport._idle) == 2


@pytest.mark.parametrize(("beyond", "kept"), [(0, 1), (1, 0)])
def test_a_handle_that_holds_a_long_body_is_not_kept(caller, beyond, kept):
    with receiver(answer()) as r:
        assert caller.call(r.url, b"x" * (MAX_KEPT_BODY_BYTES + beyond)).outcome is Outcome.ANSWERED
    assert len(caller.transport._idle) == kept


class ClosesUnannounced:
    """Answers and hangs up, without announcing that in the answer; ``wait`` until it has."""

    def __init__(self):
        self.closed = threading.Semaphore(0)

    def __call__(self, connection, _request):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.close()
        self.closed.release()
        raise Hangup

    def wait(self):
        assert self.closed.acquire(timeout=5)
        time.sleep(0.01)


@pytest.mark.parametrize("body", [None, b'{"n":1}'], ids=["no body", "body"])
def test_a_kept_connection_that_its_endpoint_has_closed_is_not_used_again(caller, body):
    script = ClosesUnannounced()
    with receiver(script) as r:
        for index in range(6):
            assert caller.call(r.url, body, reference_id=f"ref-{index}").outcome is Outcome.ANSWERED
            script.wait()
        assert r.connections == len(r.requests) == 6


def test_over_tls_too_a_closed_connection_is_not_used_again(tmp_path):
    authority = make_authority(tmp_path)
    tls = authority.context("127.0.0.1")
    script = ClosesUnannounced()
    with calling(ca_file=authority.ca_file) as caller, receiver(script, tls=tls) as r:
        for index in range(4):
            assert caller.call(r.url, reference_id=f"ref-{index}").outcome is Outcome.ANSWERED
            script.wait()
        assert r.connections == len(r.requests) == 4
    with calling(ca_file=authority.ca_file) as caller, receiver(answer(), tls=tls) as r:
        for _ in range(20):
            caller.call(r.url)
        assert r.connections == 1


@pytest.mark.parametrize(("script", "kept"), [(answer(), 1), (hangs_up(), 0)], ids=["kept", "lost"])
def test_only_a_connection_over_tls_that_was_not_lost_counts_as_free(tmp_path, script, kept):
    authority = make_authority(tmp_path)
    with calling(ca_file=authority.ca_file) as caller, receiver(script, tls=authority.context("127.0.0.1")) as r:
        caller.call(r.url)
        (multi,) = caller.transport._multis.values()
        (origin,) = multi.openings._origins.values()
        assert (len(origin.idle), origin.in_use) == (kept, False)


def test_all_connections_of_an_endpoint_that_went_away_are_passed_over(caller):
    gone, may_answer = [], threading.Event()

    def closes_all_at_the_end(connection, request):
        connection.send(raw_answer(200, b"ok"))
        gone.append(connection)

    with receiver(once_set(may_answer, closes_all_at_the_end)) as r:
        calls = [
            gevent.spawn(caller.call, r.url, reference_id=f"ref-{index}", timeout_s=START_S) for index in range(30)
        ]
        wait_until(lambda: len(r.requests) == 30, sleep=gevent.sleep)
        may_answer.set()
        gevent.joinall(calls, raise_error=True)
        assert r.connections == 30
        wait_until(lambda: len(gone) == 30)
        for connection in gone:
            connection.close()
        assert caller.call(r.url, reference_id="next").outcome is Outcome.ANSWERED
        assert (r.connections, r.receipts["next"]) == (31, 1)


def test_of_so_many_connections_the_newest_are_checked(monkeypatch):
    monkeypatch.setattr(sockets, "_MAX_KNOWN", 2)
    known, ends = Sockets(), []
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for _ in range(4):
            connection = stack.enter_context(socket.create_connection(server.getsockname()))
            ends.append(connection.getsockname())
            known.learn([server.fileno(), connection.fileno()], *ends[-1])
            server.accept()[0].close()
        wait_until(lambda: all(known.has_ended(*end) for end in ends[2:]))
        assert not any(known.has_ended(*end) for end in ends[:2])


def test_a_connection_idle_for_longer_is_not_used_for_an_unrepeatable_request(caller, monkeypatch):
    monkeypatch.setattr(exchange, "UNREPEATABLE_IDLE_S", UNREPEATABLE_IDLE_S)
    with receiver(answer()) as r:
        caller.call(r.url)
        time.sleep(UNREPEATABLE_IDLE_S + 0.3)
        caller.call(r.url, repeatable=True)
        assert r.connections == 1
        time.sleep(UNREPEATABLE_IDLE_S + 0.3)
        caller.call(r.url, repeatable=False)
        assert r.connections == 2


def test_a_shut_gate_lets_nothing_out(caller):
    gate = Gate(boot_time_s() + 5)
    assert gate.shut()
    with receiver(answer()) as r:
        reply = caller.call(r.url, gate=gate)
        assert (reply.outcome, reply.sent) == (Outcome.CONNECT_FAILED, Sent.NO)
        assert r.requests == []


@pytest.mark.parametrize(("timeout_s", "outcome"), [(5, Outcome.CONNECTION_LOST), (-1, Outcome.CONNECT_TIMEOUT)])
def test_a_gate_that_was_entered_before_lets_nothing_out_and_does_not_deny_the_first(caller, timeout_s, outcome):
    gate = Gate(boot_time_s() + BUSY_S)
    assert gate.enter()
    with receiver(answer()) as r:
        reply = caller.call(r.url, gate=gate, timeout_s=timeout_s)
        assert (reply.outcome, reply.sent) == (outcome, Sent.MAYBE)
        assert r.requests == []


def test_a_gate_past_its_deadline_lets_nothing_out(caller):
    """This happens after a sleep of the machine, which libcurl's clock does not count."""
    gate = Gate(boot_time_s() - 1)
    with receiver(answer()) as r:
        reply = caller.call(r.url, gate=gate)
        assert (reply.outcome, reply.sent) == (Outcome.CONNECT_TIMEOUT, Sent.NO)
        assert r.requests == []


def test_a_gate_is_entered_when_the_request_has_left_and_not_before(caller):
    gate = Gate(boot_time_s() + 5)
    with receiver(slow(0.3, answer())) as r:
        call = gevent.spawn(caller.call, r.url, gate=gate)
        assert not gate.entered
        while not r.requests:
            gevent.sleep(0.01)
        assert gate.entered
        assert not gate.shut()
        assert call.get().outcome is Outcome.ANSWERED


def running(caller):
    return sum(len(multi._waits) for multi in caller.transport._multis.values())


def test_a_killed_call_takes_its_transfer_with_it_and_harms_no_other(caller):
    may_answer = threading.Event()
    with receiver(in_turn(never_answers, once_set(may_answer, json_answer(1)))) as r:
        doomed = gevent.spawn(caller.call, r.url, reference_id="doomed", timeout_s=START_S)
        wait_until(lambda: len(r.requests) == 1, sleep=gevent.sleep)
        other = gevent.spawn(caller.call, r.url, reference_id="other", timeout_s=START_S)
        wait_until(lambda: len(r.requests) == 2, sleep=gevent.sleep)
        doomed.kill()
        assert running(caller) == 1
        may_answer.set()
        assert other.get().outcome is Outcome.ANSWERED
        assert running(caller) == 0
        assert caller.call(r.url, reference_id="next").outcome is Outcome.ANSWERED
        assert r.receipts == {"doomed": 1, "other": 1, "next": 1}
