"""How much of a process one webhook may hold: waiting callers, slots, and the time of calls queued behind it."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import gevent
import hypothesis.strategies as st
import pytest
from hypothesis import given

from api.awaiting import Signal, Waiters
from relay.domain.shares import ALWAYS, capacity_left, may_hold_more
from relay.executor.slots import BRIEF_S, FEW, WOKEN, Slots
from relay.queue import GROUP_IDS
from tests.timing import BUSY_S, stop_clock

SLOW, QUICK = ("acme", "slow"), ("acme", "quick")


def names(count, holder=SLOW):
    return [(holder, number) for number in range(count)]


def held_by_the_slow(count, most):
    slots = Slots(most)
    slots.take(count)
    for _ in range(count):
        slots.hold(SLOW)
    return slots


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Stops the clock by which endpoints are slow; a test moves it on."""
    return stop_clock(monkeypatch)


@pytest.fixture
def waiters():
    return Waiters(SimpleNamespace(process="api"), None, 40)


def test_something_is_left_of_what_one_webhook_holds():
    held = 0
    while may_hold_more(held, 500 - held):
        held += 1
    assert 350 < held <= 401


def test_a_webhook_may_always_hold_a_few_whatever_is_free():
    assert may_hold_more(ALWAYS - 1, 0)
    assert not may_hold_more(ALWAYS, 0)


@given(st.integers(0, 700), st.integers(0, 700))
def test_the_room_that_is_left_is_what_may_be_taken_one_after_the_other(held, free):
    taken = 0
    while taken < free and may_hold_more(held + taken, free - taken):
        taken += 1
    assert capacity_left(held, free) == taken


def test_the_room_after_calls_have_left_counts_their_slots():
    slots = held_by_the_slow(40, 50)
    assert slots.capacity(SLOW) == 0
    assert slots.capacity(QUICK) == 8
    assert slots.capacity_after([SLOW] * 20) == {SLOW: capacity_left(20, 30)}


def test_what_was_woken_and_is_coming_has_its_room_already():
    slots = held_by_the_slow(40, 50)
    with slots.coming([SLOW] * 15):
        assert slots.capacity_after([SLOW] * 20) == {SLOW: capacity_left(35, 15)}
        assert slots.capacity_after([QUICK]) == {QUICK: 0}
    assert slots.capacity_after([SLOW] * 20) == {SLOW: capacity_left(20, 30)}


def test_what_was_coming_and_failed_on_its_way_keeps_no_room():
    slots = held_by_the_slow(40, 50)
    with suppress(ZeroDivisionError), slots.coming([SLOW] * 15):
        raise ZeroDivisionError
    assert slots.capacity_after([SLOW] * 20) == {SLOW: capacity_left(20, 30)}


def test_a_settle_wakes_one_for_each_that_leaves_and_only_a_few_for_slots_that_are_free_already():
    slots = held_by_the_slow(40, 500)
    assert slots.capacity_after([SLOW]) == {SLOW: WOKEN}
    assert slots.capacity_after([SLOW, SLOW, QUICK]) == {SLOW: WOKEN // 2, QUICK: WOKEN // 2}
    assert slots.capacity_after([SLOW] * 40) == {SLOW: 40}


def test_callers_that_await_a_slow_webhook_leave_room_for_those_of_another(waiters):
    slow = [waiters.expect(f"s{number}", SLOW) for number in range(40)]
    assert 30 <= sum(each is not None for each in slow) < 40
    assert waiters.expect("q", QUICK) is not None


def test_no_more_callers_wait_than_there_is_room_for(waiters):
    waiting = [waiters.expect(f"r{number}", ("acme", f"hook{number}")) for number in range(41)]
    assert None not in waiting[:40]
    assert waiting[40] is None


def test_a_caller_that_leaves_makes_room_for_another_of_its_webhook(waiters):
    waiting = [each for each in (waiters.expect(f"s{number}", SLOW) for number in range(40)) if each is not None]
    assert waiters.expect("again", SLOW) is None
    waiting[0].close()
    assert waiters.expect("again", SLOW) is not None
    assert waiters.expect("once more", SLOW) is None


@given(st.lists(st.tuples(st.sampled_from([SLOW, QUICK]), st.integers(-12, 12)), max_size=30))
def test_the_room_to_wait_is_what_those_leave_that_are_still_waiting(steps):
    waiters, waiting = Waiters(SimpleNamespace(process="api"), None, 40), {SLOW: [], QUICK: []}
    for webhook, change in steps:
        for _ in range(change):
            free = 40 - sum(map(len, waiting.values()))
            expectation = waiters.expect("r", webhook)
            assert (expectation is not None) == (free > 0 and may_hold_more(len(waiting[webhook]), free))
            if expectation is not None:
                waiting[webhook].append(expectation)
        for _ in range(min(-change, len(waiting[webhook]))):
            waiting[webhook].pop(change % len(waiting[webhook])).close()


@given(st.lists(st.booleans(), max_size=5), st.lists(st.booleans(), max_size=3))
def test_a_notice_reaches_all_who_still_wait_for_it_and_a_signal_everybody(stays, others):
    waiters, notice = Waiters(SimpleNamespace(process="api"), None, 40), SimpleNamespace(reference_id="r")
    waiting = [(waiters.expect("r", SLOW), stay, True) for stay in stays]
    waiting += [(waiters.expect("s", QUICK), stay, False) for stay in others]
    for each, stay, _ in waiting:
        if not stay:
            each.close()
    waiters._deliver(notice)
    waiters._renew()
    for each, stay, wants in waiting:
        told = [each._signals.get_nowait() for _ in range(each._signals.qsize())]
        assert told == ([notice] * wants + [Signal.LOOK] if stay else [])
        if stay:
            each.close()
    assert waiters._expected == {}
    assert (waiters._count, waiters._held) == (0, {})


def test_a_message_waits_for_the_turn_of_calls_that_leave_quickly():
    slots = held_by_the_slow(8, 10)
    slots.answered(SLOW, 0.01)
    slots.leave(SLOW, 0.15)  # settling is slow, not the endpoint: no other webhook would be faster
    assert slots.soon_free([SLOW] * 5, 0.25)
    assert not slots.soon_free([SLOW] * 500, 0.25)


def test_a_message_never_waits_for_a_slow_endpoint_however_many_of_its_calls_are_running():
    slots = held_by_the_slow(8_001, 10_000)
    slots.answered(SLOW, 30.0)
    slots.leave(SLOW, 30.0)  # of 8,000 calls one ends every 4 ms
    assert not slots.soon_free([SLOW] * 1, 0.1)


def test_a_message_does_not_wait_for_an_endpoint_that_has_not_answered_yet(clock):
    slots = held_by_the_slow(1, 10)
    clock(BRIEF_S + 0.05)
    assert not slots.soon_free([SLOW] * 1, 10)


def test_an_endpoint_has_not_answered_since_the_first_of_its_calls_that_are_running(clock):
    slots = held_by_the_slow(1, 10)
    clock(BRIEF_S - 0.01)
    assert slots.soon_free([SLOW], 10)
    slots.take(1)
    slots.hold(SLOW)
    clock(0.02)
    assert not slots.soon_free([SLOW], 10)


def test_an_endpoint_has_not_answered_since_its_last_answer(clock):
    slots = held_by_the_slow(2, 10)
    for soon, after_s in ((True, 0.06), (True, 0.06), (False, 0.11)):
        slots.answered(SLOW, 0.01)
        clock(after_s)
        assert bool(slots.soon_free([SLOW], 10)) is soon
    slots.answered(SLOW, 0.0)
    slots.leave(SLOW, 0.01)
    clock(0.06)
    assert slots.soon_free([SLOW], 0.07)
    assert not slots.soon_free([SLOW], 0.05)


def test_a_message_does_not_wait_for_a_webhook_that_holds_nothing_any_more():
    slots = held_by_the_slow(1, 10)
    slots.leave(SLOW, 0.01)
    slots.answered(SLOW, 0.01)  # the answer of a call that was already given back
    assert not slots.soon_free([SLOW, QUICK], 10)


def test_beyond_a_share_calls_are_kept_while_their_turn_is_near_and_parked_otherwise():
    slots = held_by_the_slow(10, 10)
    slots.answered(SLOW, 0.01)
    slots.leave(SLOW, 0.1)
    calls = [*names(2), *names(1, QUICK)]
    assert slots.sort(calls, lambda call: call[0], hold_s=0.25) == (names(1, QUICK), names(2), [])
    assert slots.sort(calls, lambda call: call[0], hold_s=0.0) == (names(1, QUICK), [], names(2))


def test_a_few_wait_for_more_of_their_webhook_that_may_go_soon():
    slots = held_by_the_slow(77, 100)  # four more, and it holds four fifths
    slots.answered(SLOW, 0.01)
    slots.leave(SLOW, 0.1)
    calls = names(20)
    assert slots.sort(calls, lambda call: call[0], hold_s=0.25) == ([], calls, [])
    within, kept, parked = slots.sort(
        calls, lambda call: call[0], hold_s=0.0
    )  # no slot becomes free soon, so they go as they are
    assert 0 < len(within) < FEW
    assert (kept, within + parked) == ([], calls)


@pytest.mark.parametrize(("capacity", "go"), [(FEW - 1, 0), (FEW, FEW), (FEW + 1, FEW + 1), (3 * FEW, 3 * FEW)])
def test_only_a_few_wait_for_more_of_their_webhook(capacity, go):
    held = next(held for held in range(100) if capacity_left(held, 99 - held) == capacity)
    slots = held_by_the_slow(held + 1, 100)
    slots.answered(SLOW, 0.01)
    slots.leave(SLOW, 0.1)
    assert slots.capacity(SLOW) == capacity
    calls = names(4 * FEW)
    assert slots.sort(calls, lambda call: call[0], hold_s=0.25) == (calls[:go], calls[go:], [])


def test_who_waits_for_a_slot_waits_for_one_that_is_freed_from_then_on():
    slots = held_by_the_slow(2, 10)
    slots.leave(SLOW, 0.1)
    waiting = gevent.spawn(slots.wait_for_leave, BUSY_S)
    gevent.sleep(0.01)
    assert not waiting.ready()
    slots.leave(SLOW, 0.1)
    waiting.get(timeout=BUSY_S / 2)


def test_who_waits_for_a_slot_is_woken_by_one_that_was_taken_and_not_used():
    slots = held_by_the_slow(2, 10)
    slots.take(1)
    waiting = gevent.spawn(slots.wait_for_leave, 2 * BUSY_S)
    gevent.sleep(0.01)
    slots.give(0)
    gevent.sleep(0.01)
    assert not waiting.ready()
    slots.give(1)
    waiting.get(timeout=BUSY_S)


def test_as_many_as_there_are_go_though_they_are_few():
    slots = held_by_the_slow(10, 100)
    assert slots.sort(names(2), lambda call: call[0], hold_s=0.25) == (names(2), [], [])


@pytest.mark.parametrize(
    ("held", "answered_s", "left_s", "enough"),
    [
        (GROUP_IDS - 1, 0.001, 0.1, False),  # few calls, whatever they wait for
        (GROUP_IDS + 10, 0.001, 0.1, True),  # one or two at the endpoint
        (GROUP_IDS + 10, 0.010, 0.1, False),  # fourteen at the endpoint, twice those are wanted
        (400, 0.030, 0.1, True),  # 120
        (400, 0.040, 0.1, False),  # 160
        (8_000, 0.2, 0.2, False),  # all of them
    ],
)
def test_a_webhook_has_enough_with_twice_the_calls_that_are_at_its_endpoint_and_a_message(
    held, answered_s, left_s, enough
):
    slots = held_by_the_slow(held + 1, 10_000)
    slots.answered(SLOW, answered_s)
    slots.leave(SLOW, left_s)
    assert slots.has_enough(SLOW) is enough


def test_a_webhook_none_of_whose_calls_has_ended_never_has_enough():
    assert not held_by_the_slow(8_000, 10_000).has_enough(SLOW)
