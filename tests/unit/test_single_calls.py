"""How a process that makes one call waits for it, and what it leaves behind."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from relay.domain.invocation import State
from relay.errors import Conflict, Unavailable
from relay.executor.single import run_once
from tests.timing import stop_clock

WOKEN = (("another", "bulk"),)
TIMEOUT_S = 20.0


class OneCall:
    """An executor and a store with one call, which is in each of these states in turn, and then stays in the last."""

    def __init__(self, *states, counts=(1, 0), cancel=None):
        self.states = list(states)
        self.counts = counts
        self.cancel_fault = cancel
        self.finds = self.drains = 0
        self.published = []

    def run(self, reference_ids, *, waits):
        assert (reference_ids, waits) == (["ref"], True)
        return dict(zip(("started", "parked"), self.counts, strict=True))

    def find(self, _reference_id):
        self.finds += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return SimpleNamespace(state=state, final=state.final)

    def cancel(self, _reference_id):
        if self.cancel_fault is not None:
            raise self.cancel_fault
        self.states = [State.CANCELLED]
        return WOKEN

    def drain(self, _timeout_s):
        self.drains += 1

    def once(self):
        return run_once(self, self, self.published.append, "ref", timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("before", [(), (State.QUEUED,), (State.QUEUED, State.SENDING, State.SENDING)])
@pytest.mark.parametrize("end", [State.DELIVERED, State.UNREACHABLE])
def test_a_call_that_ends_is_waited_for(before, end):
    call = OneCall(*before, end)
    assert call.once().state is end
    assert (call.finds, call.published, call.drains) == (len(before) + 1, [], 1)


@pytest.mark.parametrize(
    ("counts", "states"),
    [((0, 1), (State.QUEUED,)), ((0, 0), (State.QUEUED,)), ((1, 0), (State.SENDING, State.RETRYING))],
    ids=["parked", "not started", "due for a retry"],
)
def test_a_call_that_goes_on_later_is_cancelled_and_who_may_go_instead_is_published(counts, states):
    call = OneCall(*states, counts=counts)
    assert call.once().state is State.CANCELLED
    assert (call.finds, call.published, call.drains) == (len(states) + 1, [WOKEN], 1)


def test_a_call_that_a_worker_has_taken_is_not_cancelled():
    call = OneCall(State.RETRYING, State.SENDING, cancel=Conflict())
    assert call.once().state is State.SENDING
    assert (call.published, call.drains) == ([], 1)


def test_a_call_that_does_not_end_is_given_up_some_time_after_its_timeout(monkeypatch):
    pass_time = stop_clock(monkeypatch)
    monkeypatch.setattr("relay.executor.single.gevent.sleep", lambda _: pass_time(1.0))
    call = OneCall(State.SENDING, cancel=Conflict())
    assert call.once().state is State.SENDING
    assert TIMEOUT_S + 10 < call.finds < TIMEOUT_S + 60


def test_nothing_is_sent_after_an_error():
    call = OneCall(Unavailable())
    with pytest.raises(Unavailable):
        call.once()
    assert (call.published, call.drains) == ([], 1)
