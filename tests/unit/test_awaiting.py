"""How a caller's wait ends: by a notice, a signal, the reply to its trigger, or its deadline, in whatever order they come."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import closing
from types import SimpleNamespace

import pytest

from api import awaiting
from api.awaiting import Signal, Waiters
from relay.domain.invocation import State
from relay.errors import RequestRejected, Unavailable
from relay.store.ledger.acceptance import Accepted, AcceptVerdict

WEBHOOK = ("acme", "order")
NEW, OLDER = "new", "older"
ACCEPTED = Accepted(AcceptVerdict.ACCEPTED, NEW, State.QUEUED)
KNOWN = Accepted(AcceptVerdict.KNOWN, OLDER, State.QUEUED)
NOTICE, NOTICE_OF_OLDER = SimpleNamespace(reference_id=NEW), SimpleNamespace(reference_id=OLDER)


class Records:
    """A server that answers each look with what comes next, and then for ever with the last."""

    def __init__(self, *states):
        self.states, self.looks = list(states), []

    def _look(self, how, plugin, reference_id):
        self.looks.append((how, plugin, reference_id))
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return SimpleNamespace(reference_id=reference_id, state=state, final=state.final)

    def get_confirmed(self, plugin, reference_id):
        return self._look("get", plugin, reference_id)

    def join(self, plugin, reference_id, *, process):
        return self._look(f"join {process}", plugin, reference_id)


def waiting(*states):
    records = Records(*states)
    waiters = Waiters(SimpleNamespace(process="p1"), records, 8)
    return waiters, records, waiters.expect(NEW, WEBHOOK)


class Woken:
    """The signals of a caller who does not have to wait for any: each has come before the caller asks."""

    def __init__(self):
        self._signals = deque()

    def put(self, signal):
        self._signals.append(signal)

    def get(self, *, timeout):
        assert self._signals, f"nothing has woken the caller, who would wait for {timeout:.0f} s"
        return self._signals.popleft()


def soon():
    return time.monotonic() + 30


def at_once():
    return time.monotonic()


@pytest.mark.parametrize("error", [None, OSError("lost"), SystemExit()], ids=repr)
def test_the_process_hears_notices_and_ends_when_it_no_longer_can(monkeypatch, error):
    """Without a listener, its callers would wait in vain."""
    given_up, over = [], threading.Event()

    def hear(deliver, renew, stop):
        deliver(NOTICE)
        renew()
        over.set()
        assert not stop.is_set()
        if error is not None:
            raise error

    monkeypatch.setattr(awaiting, "give_up", lambda *how: given_up.append(how))
    waiters = Waiters(SimpleNamespace(process="p1", run=hear), Records(State.QUEUED), 8)
    with closing(waiters.expect(NEW, WEBHOOK)) as caller:
        others = set(threading.enumerate())
        waiters.start()
        for listener in set(threading.enumerate()) - others:
            listener.join()
        assert over.is_set()
        heard = [caller._signals.get_nowait() for _ in range(caller._signals.qsize())]
    assert heard == [NOTICE, Signal.LOOK]
    assert given_up == ([] if error is None else [(error, "notices")])


@pytest.mark.parametrize("reply", [None, ACCEPTED])
def test_a_notice_ends_a_wait_without_a_look_whether_the_reply_has_come_or_not(reply):
    waiters, records, caller = waiting(State.QUEUED)
    with closing(caller):
        if reply is not None:
            caller.reply(reply)
        waiters._deliver(NOTICE)
        assert caller.wait(soon()) is NOTICE
    assert records.looks == []


@pytest.mark.parametrize("state", [State.QUEUED, State.SENDING, State.DELIVERED])
@pytest.mark.parametrize("is_released", [False, True])
def test_at_its_deadline_or_a_stop_a_wait_ends_with_the_record_as_it_is(state, is_released):
    waiters, records, caller = waiting(state)
    with closing(caller):
        caller.reply(ACCEPTED)
        if is_released:
            waiters.release()
        assert caller.wait(soon() if is_released else at_once()).state is state
    assert records.looks == [("get", "acme", NEW)]


def test_a_signal_to_look_ends_a_wait_only_if_the_call_has_ended():
    waiters, records, caller = waiting(State.QUEUED, State.SENDING, State.DELIVERED)
    with closing(caller):
        caller.reply(ACCEPTED)
        for _ in range(3):
            waiters._renew()
        assert caller.wait(soon()).state is State.DELIVERED
    assert records.looks == [("get", "acme", NEW)] * 3


def test_a_caller_whose_notice_is_lost_learns_of_the_end_before_its_deadline(monkeypatch):
    monkeypatch.setattr(awaiting, "_LOOK_AGAIN_S", 0.01)
    _, records, caller = waiting(State.SENDING, Unavailable(), State.DELIVERED)
    with closing(caller):
        caller.reply(ACCEPTED)
        assert caller.wait(soon()).state is State.DELIVERED
    assert records.looks == [("get", "acme", NEW)] * 3


def test_a_caller_whose_time_is_over_does_not_ask_a_silent_store_again():
    _, records, caller = waiting(Unavailable())
    with closing(caller):
        caller.reply(ACCEPTED)
        caller.tell(Signal.LOOK)
        assert caller.wait(at_once()) is None
    assert len(records.looks) == 1


def test_while_the_store_is_away_a_caller_waits_on_and_at_its_deadline_nothing_is_known():
    waiters, records, caller = waiting(Unavailable(), Unavailable(), State.DELIVERED)
    with closing(caller):
        caller.reply(ACCEPTED)
        for _ in range(3):
            waiters._renew()
        assert caller.wait(soon()).state is State.DELIVERED
        assert len(records.looks) == 3
        records.states = [Unavailable()]
        assert caller.wait(at_once()) is None


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("error", [RequestRejected(), Unavailable("away")], ids=repr)
def test_a_trigger_that_was_not_accepted_ends_the_wait_with_its_error(error, is_late):
    _, records, caller = waiting(State.QUEUED)
    caller._signals = Woken()
    with closing(caller):
        replying = threading.Thread(target=caller.reply, args=(error,))
        if is_late:  # the caller looks for the reply itself
            caller.tell(Signal.LOOK)
            caller._replied = Late(replying, caller._replied)
        else:
            replying.start()
            replying.join()
        with pytest.raises(type(error)):
            caller.wait(soon())
    assert records.looks == []


class Late:
    """The queue of the reply, which comes once somebody waits for it."""

    def __init__(self, replying, queue):
        self._replying, self._queue = replying, queue

    def get(self):
        self._replying.start()
        self._queue.get()

    def put(self, value):
        self._queue.put(value)


def test_at_its_deadline_a_caller_waits_for_the_reply_to_its_trigger():
    _, records, caller = waiting(State.QUEUED)
    with closing(caller):
        caller._replied = Late(threading.Thread(target=caller.reply, args=(ACCEPTED,)), caller._replied)
        assert caller.wait(at_once()).state is State.QUEUED
    assert records.looks == [("get", "acme", NEW)]


@pytest.mark.parametrize("states", [[State.DELIVERED], [State.QUEUED, State.DELIVERED], [State.QUEUED]])
def test_a_repeat_waits_for_the_older_invocation_and_asks_for_its_notice_once(states):
    waiters, records, caller = waiting(*states)
    caller._signals = Woken()
    with closing(caller):
        caller.reply(KNOWN)  # which wakes the caller
        if states == [State.QUEUED]:
            waiters.store.join = joined = Joined(records.join, lambda: waiters._deliver(NOTICE_OF_OLDER))
            assert caller.wait(soon()) is NOTICE_OF_OLDER
            assert joined.count == 1
        else:
            if len(states) == 2:
                caller.tell(Signal.LOOK)
            assert caller.wait(soon()).state is State.DELIVERED
        assert caller.accepted is KNOWN
    looks = [("join p1", "acme", OLDER), ("get", "acme", OLDER)]
    assert records.looks == looks[: len(states)]
    assert waiters._expected == {}


@pytest.mark.parametrize("state", [State.QUEUED, State.DELIVERED])
def test_whoever_follows_an_older_invocation_has_its_record_at_the_deadline(state):
    _, records, caller = waiting(State.QUEUED, state)
    with closing(caller):
        assert caller.follow(KNOWN).state is State.QUEUED
        assert caller.wait(at_once()).state is state
        assert caller.accepted is KNOWN
    assert records.looks == [("join p1", "acme", OLDER), ("get", "acme", OLDER)]


class Joined:
    """A join after which something happens."""

    def __init__(self, join, then):
        self._join, self._then, self.count = join, then, 0

    def __call__(self, *names, process):
        self.count += 1
        found = self._join(*names, process=process)
        self._then()
        return found


@pytest.mark.parametrize("reply", [None, RequestRejected(), ACCEPTED, KNOWN], ids=repr)
def test_what_was_accepted_is_the_reply_or_else_what_was_expected(reply):
    _, _, caller = waiting(State.QUEUED)
    if reply is not None:
        caller.reply(reply)
    assert caller.accepted == (KNOWN if reply is KNOWN else ACCEPTED)
