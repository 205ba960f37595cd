"""The loop between gevent and libcurl after a fault of the relay: calls still end at their deadline, or the process ends."""

from __future__ import annotations

import gevent
import pytest

from relay.domain.invocation import Outcome
from relay.outbound import multi as multi_module
from relay.outbound.multi import HubMulti
from relay.process import loops
from tests.outbound import calling
from tests.receivers import json_answer, never_answers, receiver
from tests.timing import ANSWER_S, wait_until

TIMEOUT_S = 0.3
FAULT = ZeroDivisionError("a bug")


@pytest.fixture
def caller(monkeypatch):
    monkeypatch.setattr(loops, "RETRY_S", 0.01)
    with calling() as made:
        yield made


@pytest.fixture
def endpoint():
    with receiver(never_answers) as endpoint:
        yield endpoint


def failing(patch, name, times, error=FAULT):
    """Have a method of `HubMulti` raise at its first calls; return the list of these."""
    method, failed = getattr(HubMulti, name), []

    def fail(*args):
        if len(failed) < times:
            failed.append(args)
            raise error
        return method(*args)

    patch.setattr(HubMulti, name, fail)
    return failed


def outcomes_of(caller, url, count=3):
    """Make some calls at once; return how they ended."""
    calls = [gevent.spawn(caller.call, url, timeout_s=TIMEOUT_S) for _ in range(count)]
    gevent.joinall(calls, timeout=ANSWER_S)
    ended = [call.value.outcome if call.ready() else "hangs" for call in calls]
    gevent.killall(calls)
    return ended


@pytest.mark.parametrize("times", [1, 2, 20])
@pytest.mark.parametrize("name", ["_act", "_reap"])
def test_calls_end_at_their_deadline_although_the_loop_failed(caller, endpoint, monkeypatch, name, times):
    with monkeypatch.context() as patch:
        failed = failing(patch, name, times)
        assert "hangs" not in outcomes_of(caller, endpoint.url)
        assert failed
    assert outcomes_of(caller, endpoint.url) == [Outcome.ANSWER_TIMEOUT] * 3


@pytest.mark.parametrize("name", ["_act", "_reap"])
def test_calls_that_were_answered_end_soon_although_the_loop_failed(caller, monkeypatch, name):
    with receiver(json_answer(1)) as endpoint:
        failed = failing(monkeypatch, name, 3)
        calls = [gevent.spawn(caller.call, endpoint.url, timeout_s=10 * ANSWER_S) for _ in range(3)]
        gevent.joinall(calls, timeout=ANSWER_S)
        assert [call.ready() and call.value.outcome for call in calls] == [Outcome.ANSWERED] * 3
    assert len(failed) == 3


def test_a_call_that_dies_as_it_ends_keeps_no_other_from_ending(caller, endpoint):
    """Calls run in greenlets that hand what they raise to the hub."""
    ended = []

    def call(number):
        caller.call(endpoint.url, timeout_s=TIMEOUT_S)
        ended.append(number)
        raise FAULT

    for number in range(5):
        gevent.spawn_raw(call, number)
    with gevent.Timeout(ANSWER_S, exception=False):
        while len(ended) < 5:
            gevent.sleep(0.01)
    assert sorted(ended) == list(range(5))


def test_a_loop_that_goes_on_failing_ends_the_process(caller, endpoint, monkeypatch):
    gave_up = []
    monkeypatch.setattr(loops, "LOOP_FAULTS", 5)
    monkeypatch.setattr(multi_module, "give_up", lambda *how: gave_up.append(how))
    with monkeypatch.context() as patch:
        failing(patch, "_act", 1_000_000)
        call = gevent.spawn(caller.call, endpoint.url, timeout_s=TIMEOUT_S)
        wait_until(lambda: gave_up, sleep=gevent.sleep)
        call.kill()
    assert gave_up[0] == (FAULT, "transfers")


@pytest.mark.parametrize("name", ["io", "timer"])
def test_a_process_that_can_watch_no_socket_or_timer_ends(caller, monkeypatch, name):
    gave_up = []
    monkeypatch.setattr(multi_module, "give_up", lambda *how: gave_up.append(how))
    with receiver(json_answer(1)) as endpoint:
        multi = caller.transport._new_multi()
        loop = multi._loop

        class Loop:
            def __getattr__(self, asked):
                if asked == name:
                    raise FAULT
                return getattr(loop, asked)

        multi._loop = Loop()
        call = gevent.spawn(caller.call, endpoint.url, timeout_s=TIMEOUT_S)
        wait_until(lambda: gave_up, sleep=gevent.sleep)
        call.kill()
    assert gave_up[0] == (FAULT, "transfers")
