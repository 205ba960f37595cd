"""No call waits for a wake-up that was used up, lost or never given: cases that the model test found, one by one."""

from __future__ import annotations

import time

import pytest

from relay.domain.invocation import State
from relay.store.ledger.invocations import GRACE_MS
from tests.contract.clocked import START_MS
from tests.contract.ledger import ids
from tests.store_keys import KEYS


def alarm_in_s(ledger, ref, now_ms=None):
    now_ms = time.time() * 1000 if now_ms is None else now_ms
    scores = [ledger.client.zscore(key, ref) for key in (KEYS.due_running(), KEYS.due_queued("bulk"))]
    return (next(score for score in scores if score is not None) - now_ms) / 1000


def test_a_woken_call_that_is_cancelled_wakes_the_next(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(3)
    ledger.store.claim(refs, "t1")
    assert ids(ledger.store.settle([ledger.settlement(refs[0], "t1")]).ready) == [refs[1]]
    assert ids(ledger.store.cancel(refs[1])) == [refs[2]]


def test_a_settlement_that_is_repeated_after_the_call_was_cancelled_is_not_late(ledger):
    ref, token = ledger.claimed()
    retry = ledger.settlement(ref, token, state=State.RETRYING, delay_ms=60_000, result=b"")
    ledger.store.settle([retry])
    ledger.store.cancel(ref)
    assert ledger.store.settle([retry]).verdicts == (True,)
    assert ledger.store.find(ref).late_answer is None


def test_a_parked_call_that_an_open_breaker_ends_wakes_the_next(ledger):
    ledger.limit(concurrency=1, failures=19)
    refs = ledger.accepted_many(4)
    ledger.store.claim(refs, "t1")
    assert ids(ledger.store.settle([ledger.failure(refs[0], "t1")]).ready) == [refs[1]]
    assert ids(ledger.store.claim([refs[1]], "t2").ready) == [refs[2]]
    assert ids(ledger.store.claim([refs[1]], "t2").ready) == [refs[2]]  # and says so again when the reply was lost


@pytest.mark.parametrize("rate", [{}, {"every": "100"}], ids=["a cap", "a rate"])
def test_a_parked_call_is_looked_at_again_after_a_quarter_of_an_hour(ledger, rate):
    ledger.limit(concurrency=1, **rate)
    refs = ledger.accepted_many(4)
    ledger.store.claim(refs[:2], "t1", park=refs[2:])  # the worker has no room for the parked ones
    assert [round(alarm_in_s(ledger, ref) / 60) for ref in refs[1:]] == [15, 15, 15]


@pytest.mark.parametrize("is_parked", [True, False], ids=["parked", "not parked"])
def test_each_call_that_an_open_breaker_ends_wakes_one(ledger, is_parked):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(5)
    ledger.store.claim(refs, "t1")
    assert ids(ledger.store.settle([ledger.settlement(refs[0], "t1")]).ready) == [refs[1]]
    until = int(time.time() * 1000) + 60_000
    ledger.limit(concurrency=4, failures=20, openUntil=until, openFor=60_000)
    ended = refs[1] if is_parked else ledger.accepted_many(1)[0]
    woken = ids(ledger.store.claim([ended], "t2").ready)
    assert ledger.state(ended) is State.UNREACHABLE
    assert len(woken) == 1


def test_a_parked_call_that_an_open_breaker_holds_back_leaves_the_line_and_wakes_the_next(ledger):
    ledger.limit(concurrency=1, failures=19, retry="1")
    refs = ledger.accepted_many(3)
    ledger.store.claim(refs, "t1")
    ledger.store.settle([ledger.failure(refs[0], "t1")])
    assert ids(ledger.store.claim([refs[1]], "t2").ready) == [refs[2]]
    assert ledger.state(refs[1]) is State.RETRYING
    assert ledger.client.zscore(KEYS.parked("acme", "hook"), refs[1]) is None


def test_whoever_is_the_oldest_is_looked_at_when_the_rate_allows_the_next_however_long_calls_take(clock, ledger):
    ledger.limit(rateCount=1, ratePeriod=1000)
    refs = ledger.accepted_many(3)
    ledger.store.claim(refs, "t1")
    assert alarm_in_s(ledger, refs[1], START_MS) == 1
    assert alarm_in_s(ledger, refs[2], START_MS) > 800
    later_ms = START_MS + 1050
    clock.set_ms(later_ms)
    assert ledger.store.claim([refs[1]], "t2").granted == {refs[1]}  # the first one is still being sent
    assert alarm_in_s(ledger, refs[2], later_ms) <= 1


def test_under_a_rate_one_end_wakes_as_many_as_the_rate_allows(clock, ledger):
    ledger.limit(rateCount=4, ratePeriod=1000)
    refs = ledger.accepted_many(8)
    ledger.store.claim(refs, "t1")
    clock.set_ms(START_MS + 800)
    assert ids(ledger.store.settle([ledger.settlement(refs[0], "t1")]).ready) == refs[4:7]
    assert [ledger.alarms(ref) for ref in refs[4:7]] == [{"queued"}] * 3  # the oldest had one for the rate


def test_a_repeated_release_answers_with_whom_the_place_woke(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(2)
    ledger.store.claim(refs, "t1")
    first = ledger.store.release([refs[0]], "t1")
    assert ids(first) == refs
    assert ledger.store.release([refs[0]], "t1") == first


@pytest.mark.parametrize("limits", [{}, {"concurrency": 3}])
def test_all_that_one_sweep_wakes_are_looked_at_again_soon_should_its_messages_be_lost(ledger, limits):
    ledger.limit(paused="1", **limits)
    refs = ledger.accepted_many(4)
    ledger.store.claim(refs, "t1")
    woken = refs[: limits.get("concurrency", len(refs))]
    for ready in ledger.policies.resume("acme", "hook"):
        assert ids(ready) == woken
    for ref in refs:
        ledger.ring(ref)
    assert ids(ledger.store.sweep(limit=10)) == woken
    soon = [ref for ref in refs if alarm_in_s(ledger, ref) < 60]
    assert soon == woken


def _cancel(ledger, refs):
    ledger.limit(concurrency=2)
    return ledger.store.cancel(refs[1])


def _grow_old(ledger, refs):
    ledger.limit(concurrency=2)
    return ledger.grow_old(refs[1])[2]


def _lost(ledger, refs):
    ledger.lose_lease(refs[0])
    return ledger.store.claim([refs[0]], "t2").ready


def _resumed(ledger, _refs):
    ledger.limit(concurrency=2)
    return next(ledger.policies.resume("acme", "hook"))


def _revisited(ledger, _refs):
    ledger.limit(concurrency=2)
    return next(iter(ledger.store.revisit("acme", "hook")))


def _woken(ledger, _refs):
    ledger.limit(concurrency=2)
    return [(ref, "bulk") for ref, *_ in ledger.store.parked_calls.wake("acme", "hook", 1, ["bulk"])]


WAKING = {
    "settle": lambda ledger, refs: ledger.store.settle([ledger.settlement(refs[0], "t1")]).ready,
    "release": lambda ledger, refs: ledger.store.release([refs[0]], "t1"),
    "cancel": _cancel,
    "expire": _grow_old,
    "claim": _lost,
    "resume": _resumed,
    "revisit": _revisited,
    "wake": _woken,
}


@pytest.mark.parametrize("act", WAKING.values(), ids=WAKING)
def test_whatever_wakes_a_call_lets_it_be_looked_at_again_after_the_grace(clock, ledger, act):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(3)
    ledger.store.claim(refs, "t1")
    woken = ids(act(ledger, refs))
    assert set(woken) & set(refs[1:])
    assert {alarm_in_s(ledger, ref, START_MS) for ref in woken} == {GRACE_MS / 1000}
