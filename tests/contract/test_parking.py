"""Calls that may not be sent now: caps, rates, pauses, shares and breakers, and which calls a freed place wakes."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from unittest.mock import ANY

import pytest

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.queue import GROUP_IDS
from relay.store.ledger import policies as policies_module
from tests.contract.clocked import START_MS
from tests.contract.ledger import ids
from tests.store_keys import KEYS


def resumed(ledger):
    return [ref for page in ledger.policies.resume("acme", "hook") for ref in ids(page)]


def test_a_webhook_at_its_cap_parks_the_rest_with_a_far_alarm(ledger):
    ledger.limit(concurrency=2)
    refs = ledger.accepted_many(5)
    claimed = ledger.store.claim(refs, "t1")
    assert (claimed.granted, claimed.parked) == (set(refs[:2]), set(refs[2:]))
    assert ledger.state(refs[4]) is State.QUEUED
    in_minutes = (ledger.client.zscore(KEYS.due_queued("bulk"), refs[4]) / 1000 - time.time()) / 60
    assert 14 < in_minutes < 16


def test_a_freed_place_wakes_the_oldest_parked_call(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(3)
    ledger.store.claim(refs, "t1")
    settled = ledger.store.settle([ledger.settlement(refs[0], "t1")])
    assert settled.ready == ((refs[1], "bulk"),)
    assert ledger.store.claim([refs[1]], "t2").granted == {refs[1]}


def test_a_lost_reply_loses_no_wake_up(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(2)
    ledger.store.claim(refs, "t1")
    first = ledger.store.settle([ledger.settlement(refs[0], "t1")])
    again = ledger.store.settle([ledger.settlement(refs[0], "t1")])
    assert first.ready == again.ready == ((refs[1], "bulk"),)


def test_what_is_woken_and_not_run_is_published_after_the_grace(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(2)
    ledger.store.claim(refs, "t1")
    ledger.store.settle([ledger.settlement(refs[0], "t1")])
    ledger.ring(refs[1])
    assert ids(ledger.store.sweep(limit=10)) == [refs[1]]


def test_places_of_a_lost_worker_free_themselves(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(2)
    ledger.store.claim(refs[:1], "t1")
    ledger.lose_lease(refs[0])
    ledger.client.zadd(KEYS.running("acme", "hook"), {refs[0]: 1})
    assert ledger.store.claim(refs[1:], "t2").granted == {refs[1]}


def test_a_lost_call_that_ends_wakes_whom_it_kept_waiting(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(2)
    ledger.store.claim(refs, "t1")
    ledger.lose_lease(refs[0])
    ledger.client.zadd(KEYS.running("acme", "hook"), {refs[0]: 1})
    assert ids(ledger.store.claim([refs[0]], "t2").ready) == [refs[1]]
    assert ledger.state(refs[0]) is State.INTERRUPTED


def test_a_lost_repeatable_call_without_a_free_place_is_queued_and_parked(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(2, repeatable=True)
    ledger.store.claim(refs[:1], "t1")
    ledger.lose_lease(refs[0])
    ledger.client.zadd(KEYS.running("acme", "hook"), {refs[0]: 1})
    ledger.store.claim(refs[1:], "t2")
    assert ledger.store.claim([refs[0]], "t3").parked == {refs[0]}
    assert (ledger.state(refs[0]), len(ledger.store.find(refs[0]).attempts)) == (State.QUEUED, 1)
    assert ledger.store.settle([ledger.settlement(refs[0], "t1")]).verdicts == (False,)


@pytest.mark.parametrize("holds", ["a pause", "a breaker"])
def test_a_lost_call_that_is_held_back_keeps_no_permit(clock, ledger, holds):
    ref, token = ledger.claimed(repeatable=True)
    limits = {"paused": "1"} if holds == "a pause" else {"openUntil": START_MS + 90_000, "openFor": 90_000, "retry": 1}
    ledger.limit(**limits)
    clock.set_ms(ledger.time_ms(ref, "leaseEnd"))
    claimed = ledger.store.claim([ref], ledger.token())
    assert (claimed.granted, claimed.parked) == (set(), {ref} if holds == "a pause" else set())
    assert not ledger.client.exists(KEYS.running("acme", "hook"))
    fields = ledger.client.hmget(KEYS.record(ref), "state", "token", "leaseEnd", "losses")
    assert fields == [b"queued" if holds == "a pause" else b"retrying", b"", b"", b"1"]
    assert ledger.store.settle([ledger.settlement(ref, token)]).verdicts == (False,)


def test_a_released_call_and_its_freed_place_are_both_ready(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(2)
    ledger.store.claim(refs, "t1")
    assert set(ids(ledger.store.release([refs[0]], "t1"))) == set(refs)


def test_a_cancelled_parked_call_is_not_woken(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(3)
    ledger.store.claim(refs, "t1")
    ledger.store.cancel(refs[1])
    assert ledger.client.hget(KEYS.record(refs[1]), "parked") == b""
    assert ids(ledger.store.settle([ledger.settlement(refs[0], "t1")]).ready) == [refs[2]]


def test_the_sweeper_leaves_a_parked_call_of_a_full_webhook_alone(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(2)
    ledger.store.claim(refs, "t1")
    ledger.ring(refs[1])
    assert ledger.store.sweep(limit=10) == ()
    assert ledger.client.zscore(KEYS.due_queued("bulk"), refs[1]) / 1000 - time.time() > 800


@pytest.mark.parametrize("limit", [1, 60, 100, 101])
def test_a_sweep_wakes_as_many_of_the_oldest_parked_calls_as_it_may(ledger, limit):
    refs = ledger.accepted_many(100)
    ledger.limit(paused="1")
    ledger.store.claim(refs, "t1")
    ledger.limit(paused="", concurrency=100)
    ledger.ring(refs[50])
    assert ids(ledger.store.sweep(limit=limit)) == refs[:limit]


def test_calls_beyond_a_webhooks_share_of_a_process_are_parked_and_woken_one_for_one(ledger):
    refs = ledger.accepted_many(4)
    claimed = ledger.store.claim(refs[:2], "t1", park=refs[2:])
    assert (claimed.granted, claimed.parked, claimed.ready) == (set(refs[:2]), set(refs[2:]), ())
    assert ids(ledger.store.settle([ledger.settlement(refs[0], "t1")]).ready) == [refs[2]]


def test_what_is_parked_where_nothing_runs_any_more_is_woken_at_once(ledger):
    refs = ledger.accepted_many(2)
    claimed = ledger.store.claim([], "t1", park=refs)
    assert (claimed.parked, ids(claimed.ready)) == (set(refs), refs)


@pytest.mark.parametrize("limits", [{"concurrency": 2}, {"rateCount": 2, "ratePeriod": 1000}])
def test_what_was_read_as_full_and_may_go_when_it_is_parked_is_woken_at_once(ledger, limits):
    ledger.limit(**limits)
    running, ref = ledger.accepted_many(2)
    ledger.store.claim([running], "t1")
    claimed = ledger.store.claim([], "t2", full=[ref])
    assert (claimed.parked, ids(claimed.ready)) == ({ref}, [ref])
    assert ledger.store.claim([], "t2", full=[ref]) == replace(claimed, now_ms=ANY)  # its reply was lost
    again = ledger.store.claim([], "t3", park=[ref])  # by a worker that has no room for it
    assert (again.parked, again.ready) == ({ref}, ())
    assert ids(ledger.store.settle([ledger.settlement(running, "t1")]).ready) == [ref]


def test_a_call_of_a_full_webhook_is_read_without_its_payload(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(2, payload=b"sealed")
    assert [(each.full, each.payload) for each in ledger.store.read(refs)] == [(False, b"sealed")] * 2
    ledger.store.claim(refs[:1], "t1")
    assert [(each.full, each.payload) for each in ledger.store.read(refs[1:])] == [(True, b"")]
    assert ledger.store.claim([], "t2", full=refs[1:]).parked == {refs[1]}
    ledger.store.settle([ledger.settlement(refs[0], "t1")])
    assert not ledger.store.read(refs[1:])[0].full


def test_a_call_of_a_paused_webhook_that_was_read_as_full_is_parked_and_not_woken(ledger):
    ledger.limit(paused="1")
    refs = ledger.accepted_many(1)
    assert ledger.store.read(refs)[0].full
    claimed = ledger.store.claim([], "t1", full=refs)
    assert (claimed.parked, claimed.ready) == (set(refs), ())
    assert resumed(ledger) == refs


@pytest.mark.parametrize("count", [2, GROUP_IDS])
def test_who_settles_is_told_what_is_needed_to_prepare_the_calls_it_may_run(ledger, count):
    ledger.limit(concurrency=count)
    refs = ledger.accepted_many(2 * count + 1, payload=b"sealed")
    ledger.store.claim(refs, "t1")
    settled = ledger.store.settle([ledger.settlement(ref, "t1") for ref in refs[:count]])
    assert ids(settled.ready) == refs[count : 2 * count]
    assert list(settled.found) == ledger.store.read(refs[count : 2 * count])
    assert [each.payload for each in settled.found] == [b"sealed"] * count


def test_large_payloads_of_calls_that_are_woken_do_not_all_come_with_one_settle(ledger):
    ledger.limit(concurrency=4)
    refs = ledger.accepted_many(8, payload=b"x" * 200_000)
    ledger.store.claim(refs, "t1")
    settled = ledger.store.settle([ledger.settlement(ref, "t1") for ref in refs[:4]])
    assert ids(settled.ready) == refs[4:]
    assert [each.reference_id for each in settled.found] == refs[4:6]


def test_a_rate_lets_a_seconds_worth_go_and_wakes_the_oldest_when_it_may(clock, ledger):
    ledger.limit(rateCount=5, ratePeriod=1000)
    refs = ledger.accepted_many(8)
    claimed = ledger.store.claim(refs, "t1")
    assert claimed.granted == set(refs[:5])
    assert ledger.client.zscore(KEYS.due_running(), refs[5]) - START_MS == 200
    assert ledger.client.zscore(KEYS.due_queued("bulk"), refs[6]) - START_MS > 800_000
    clock.set_ms(START_MS + 450)  # two more fifths of a second
    assert ids(ledger.store.sweep(limit=10)) == refs[5:7]


@pytest.mark.parametrize(("limits", "wakes"), [({"rateCount": 3, "ratePeriod": 1000}, True), ({}, False)])
def test_a_repeated_claim_names_again_whom_the_rate_lets_go_too(clock, ledger, limits, wakes):
    ledger.limit(concurrency=9, **limits)
    running, parked, ref = ledger.accepted_many(3)
    ledger.store.claim([running], "t1")
    assert ledger.store.claim([], "t2", park=[parked]).ready == ()
    claimed = ledger.store.claim([ref], "t3")
    assert (claimed.granted, ids(claimed.ready)) == ({ref}, [parked] if wakes else [])
    assert ids(ledger.store.claim([ref], "t3").ready) == ids(claimed.ready)  # its reply was lost


def test_a_slow_rate_never_lets_two_go_together(ledger):
    ledger.limit(rateCount=6, ratePeriod=60_000)
    refs = ledger.accepted_many(3)
    assert ledger.store.claim(refs, "t1").granted == {refs[0]}
    alarm_s = ledger.client.zscore(KEYS.due_running(), refs[1]) / 1000 - time.time()
    assert alarm_s < 11


def test_a_paused_webhook_sends_nothing_until_it_is_resumed(ledger):
    refs = ledger.accepted_many(3)
    ledger.policies.pause("acme", "hook")
    assert ledger.store.claim(refs, "t1").parked == set(refs)
    assert resumed(ledger) == refs
    assert ledger.store.claim(refs, "t2").granted == set(refs)


@pytest.mark.parametrize(("cap", "running"), [(1, 0), (1, 1), (2, 1), (3, 0), (5, 1), (6, 0)])
@pytest.mark.parametrize("page", [1, 100])
def test_resuming_wakes_as_many_as_the_cap_allows(ledger, monkeypatch, cap, running, page):
    monkeypatch.setattr(policies_module, "_PAGE", page)
    ledger.limit(concurrency=cap)
    for _ in range(running):
        ledger.claimed()
    ledger.policies.pause("acme", "hook")
    refs = ledger.accepted_many(4)
    assert ledger.store.claim(refs, "t1").parked == set(refs)
    assert resumed(ledger) == refs[: cap - running]


def test_a_parked_call_whose_record_is_gone_is_left_out_of_a_resume_and_parked_no_more(ledger):
    ledger.policies.pause("acme", "hook")
    gone, ref = ledger.accepted_many(2)
    ledger.store.claim([gone, ref], "t1")
    ledger.client.delete(KEYS.record(gone))
    assert resumed(ledger) == [ref]
    assert ledger.client.zrange(KEYS.parked("acme", "hook"), 0, -1) == [ref.encode()]
    assert not ledger.client.exists(KEYS.record(gone))


@pytest.mark.parametrize(("used", "woken"), [(0, 2), (1, 1), (2, 0), (3, 0)])
def test_resuming_wakes_as_many_as_the_rate_allows_and_has_the_oldest_looked_at_if_it_allows_none(
    clock, ledger, used, woken
):
    ledger.limit(rateCount=2, ratePeriod=1000, tat=START_MS - 1000 + 500 * used)
    ledger.policies.pause("acme", "hook")
    refs = ledger.accepted_many(4)
    ledger.store.claim(refs, "t1")
    assert resumed(ledger) == refs[:woken]
    alarm_ms = ledger.client.zscore(KEYS.due_running(), refs[0])
    assert alarm_ms == (None if woken else START_MS + 500 * (used - 1))


def test_a_retry_waits_its_time_and_is_then_claimed(ledger):
    ref, token = ledger.claimed()
    retry = ledger.failure(ref, token, state=State.RETRYING, delay_ms=60_000)
    assert ledger.store.settle([retry]).verdicts == (True,)
    assert (ledger.state(ref), ledger.alarms(ref)) == (State.RETRYING, {"running"})
    assert ledger.store.claim([ref], "t2").granted == set()  # a duplicate message never starts it early
    before = ledger.everything()
    assert ledger.store.settle([retry]).verdicts == (True,)
    assert ledger.everything() == before
    ledger.client.hset(KEYS.record(ref), "notBefore", 1)
    assert ledger.store.claim([ref], "t2").granted == {ref}
    assert ledger.store.settle([ledger.settlement(ref, "t2")]).verdicts == (True,)
    assert [attempt.outcome for attempt in ledger.store.find(ref).attempts] == [
        Outcome.CONNECT_FAILED,
        Outcome.ANSWERED,
    ]


@pytest.mark.parametrize(("before_ms", "granted"), [(1, False), (0, True)])
def test_a_retry_is_sent_at_its_time_and_not_before(clock, ledger, before_ms, granted):
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.failure(ref, token, state=State.RETRYING, delay_ms=60_000)])
    fields = ledger.client.hmget(KEYS.record(ref), "notBefore", "pause", "token", "lastToken", "leaseEnd", "losses")
    assert fields == [b"%d" % (START_MS + 60_000), b"60000", b"", token.encode(), b"", b"0"]
    clock.set_ms(START_MS + 60_000 - before_ms)
    assert ids(ledger.store.sweep(limit=9)) == ([ref] if granted else [])
    assert ledger.store.claim([ref], ledger.token()).granted == ({ref} if granted else set())


def test_a_retry_that_has_come_due_is_published_at_once(ledger):
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.failure(ref, token, state=State.RETRYING, delay_ms=0)])
    time.sleep(0.005)
    assert ids(ledger.store.sweep(limit=10)) == [ref]


def test_a_retrying_call_can_be_cancelled(ledger):
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.failure(ref, token, state=State.RETRYING, delay_ms=60_000)])
    assert ledger.store.cancel(ref) == ()
    record = ledger.store.find(ref)
    assert (record.state, record.outcome) == (State.CANCELLED, None)
    assert [attempt.outcome for attempt in record.attempts] == [Outcome.CONNECT_FAILED]
    assert ledger.alarms(ref) == set()
    ledger.client.hset(KEYS.record(ref), "notBefore", 1)  # the time of its retry comes
    assert ledger.store.claim([ref], "t2").granted == set()
    assert ledger.state(ref) is State.CANCELLED


def open_breaker(ledger):
    """Open the webhook's breaker: settle twenty calls in a row without contact to the endpoint."""
    refs = ledger.accepted_many(20)
    ledger.store.claim(refs, "t-open")
    ledger.store.settle([ledger.failure(ref, "t-open") for ref in refs])


def test_a_breaker_opens_after_twenty_failures_in_a_row_and_ends_calls_as_unreachable(ledger):
    open_breaker(ledger)
    ref = ledger.accepted()
    assert ledger.store.claim([ref], "t1").granted == set()
    record = ledger.store.find(ref)
    assert (record.state, record.outcome, record.error) == (State.UNREACHABLE, Outcome.BREAKER_OPEN, True)
    assert [(attempt.outcome, attempt.sent) for attempt in record.attempts] == [(Outcome.BREAKER_OPEN, Sent.NO)]


@pytest.mark.parametrize("before", [1, 19])
def test_a_success_in_between_keeps_the_breaker_closed(ledger, before):
    refs = ledger.accepted_many(before + 20)
    ledger.store.claim(refs, "t1")
    ledger.store.settle([ledger.failure(ref, "t1") for ref in refs[:before]])
    ledger.store.settle([ledger.settlement(refs[before], "t1", contacted=True)])
    ledger.store.settle([ledger.failure(ref, "t1") for ref in refs[before + 1 :]])
    assert ledger.policies.traffic("acme", "hook").failures == 19
    assert ledger.store.claim([ledger.accepted()], "t2").granted


def test_an_open_breaker_keeps_calls_that_have_a_retry_policy(ledger):
    ledger.limit(retry=1)
    open_breaker(ledger)
    ref = ledger.accepted()
    ledger.store.claim([ref], "t1")
    record = ledger.store.find(ref)
    assert record.state is State.RETRYING
    assert 25 < record.not_before_ms / 1000 - time.time() < 35
    assert ledger.alarms(ref) == {"running"}


def test_a_parked_call_that_an_open_breaker_keeps_is_not_parked_any_more_and_comes_back_in_time(ledger):
    ledger.limit(retry=1)
    ledger.claimed()
    ref = ledger.accepted()
    assert ledger.store.claim([], "t1", park=[ref]).parked == {ref}
    open_breaker(ledger)
    ledger.store.claim([ref], "t2")
    assert ledger.state(ref) is State.RETRYING
    assert ledger.client.zscore(KEYS.parked("acme", "hook"), ref) is None
    ledger.client.hset(KEYS.record(ref), "notBefore", 1)
    ledger.client.zadd(KEYS.due_running(), {ref: 1})
    assert ids(ledger.store.sweep(limit=10)) == [ref]


def test_a_half_open_breaker_lets_one_probe_go_and_closes_when_it_is_answered(ledger):
    ledger.limit(retry=1)
    open_breaker(ledger)
    ledger.limit(openUntil=1)
    refs = ledger.accepted_many(2)
    assert ledger.store.claim(refs, "t1").granted == {refs[0]}
    ledger.store.settle([ledger.settlement(refs[0], "t1", contacted=True)])
    ledger.client.hset(KEYS.record(refs[1]), "notBefore", 1)
    assert ledger.store.claim(refs[1:], "t2").granted == {refs[1]}


def test_a_failed_probe_opens_the_breaker_for_twice_as_long(ledger):
    open_breaker(ledger)
    ledger.limit(openUntil=1)
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.failure(ref, token)])
    traffic = ledger.policies.traffic("acme", "hook")
    assert traffic.breaker == "open"
    assert 55 < traffic.open_until_ms / 1000 - time.time() < 65


def test_a_breaker_opens_for_twice_as_long_after_each_failed_probe_and_at_most_for_five_minutes(ledger):
    open_breaker(ledger)
    opened_s = []
    for _ in range(6):
        ledger.limit(openUntil=1)
        ref, token = ledger.claimed()
        ledger.store.settle([ledger.failure(ref, token)])
        opened_s.append(round((ledger.policies.traffic("acme", "hook").open_until_ms / 1000 - time.time()) / 10) * 10)
    assert opened_s == [60, 120, 240, 300, 300, 300]


@pytest.mark.parametrize(("failures", "granted"), [(19, True), (20, False)])
def test_nineteen_failures_in_a_row_leave_a_breaker_closed_and_twenty_open_it(ledger, failures, granted):
    refs = ledger.accepted_many(failures)
    ledger.store.claim(refs, "t-open")
    ledger.store.settle([ledger.failure(ref, "t-open") for ref in refs])
    assert bool(ledger.store.claim([ledger.accepted()], "t1").granted) is granted


OPEN_MS = 30_000


def held(ledger, ref):
    """Return what the record of a call that a breaker holds back says of it."""
    return [text.decode() for text in ledger.client.hmget(KEYS.record(ref), "state", "held", "notBefore", "pause")]


def test_an_open_breaker_holds_calls_until_it_may_be_probed_and_for_seconds_while_it_is(clock, ledger):
    ledger.limit(retry=1)
    open_breaker(ledger)
    refs, until_ms = ledger.accepted_many(3), START_MS + OPEN_MS
    for now_ms in (START_MS, until_ms - 1):
        clock.set_ms(now_ms)
        assert ledger.store.claim(refs[:1], ledger.token()).granted == set()
        assert held(ledger, refs[0]) == ["retrying", "1", str(until_ms), str(until_ms - START_MS)]
    clock.set_ms(until_ms)
    assert ledger.store.claim(refs[:2], "probe").granted == {refs[0]}
    assert held(ledger, refs[1]) == ["retrying", "1", str(until_ms + 5_000), "5000"]
    ends_ms = ledger.time_ms(refs[0], "leaseEnd")
    clock.set_ms(ends_ms - 2_000)
    assert ledger.store.claim(refs[2:], ledger.token()).granted == set()
    assert held(ledger, refs[2]) == ["retrying", "1", str(ends_ms), "2000"]
    clock.set_ms(ends_ms - 1)
    assert ledger.store.claim([refs[1]], ledger.token()).granted == set()
    clock.set_ms(ends_ms)  # the worker that probed is gone
    assert ledger.store.claim(refs[2:], ledger.token()).granted == {refs[2]}


def test_failures_of_calls_that_were_under_way_keep_a_breaker_open_no_longer(clock, ledger):
    refs = ledger.accepted_many(24)
    ledger.store.claim(refs, "t1")
    ledger.store.settle([ledger.failure(ref, "t1") for ref in refs[:20]])
    opened = {b"openUntil": b"%d" % (START_MS + OPEN_MS), b"openFor": b"%d" % OPEN_MS}
    for number, now_ms in enumerate((START_MS, START_MS + 1, START_MS + OPEN_MS - 1), 20):
        clock.set_ms(now_ms)
        ledger.store.settle([ledger.failure(refs[number], "t1")])
        found = ledger.client.hgetall(KEYS.policy("acme", "hook"))
        assert {name: found[name] for name in opened} == opened
        assert found[b"failures"] == b"%d" % (number + 1)
    clock.set_ms(START_MS + OPEN_MS)  # from now on a failure says that the endpoint is still away
    ledger.store.settle([ledger.failure(refs[23], "t1")])
    opened = ledger.client.hmget(KEYS.policy("acme", "hook"), "openUntil", "openFor")
    assert opened == [b"%d" % (START_MS + 3 * OPEN_MS), b"%d" % (2 * OPEN_MS)]


@pytest.mark.parametrize("failures", [19, 20])
def test_of_failures_that_come_with_the_contact_that_closes_a_breaker_twenty_open_it_again(clock, ledger, failures):
    refs = ledger.accepted_many(21 + failures)
    ledger.store.claim(refs, "t1")
    ledger.store.settle([ledger.failure(ref, "t1") for ref in refs[:20]])
    clock.set_ms(START_MS + OPEN_MS)
    contact = ledger.settlement(refs[20], "t1", contacted=True)
    ledger.store.settle([contact, *(ledger.failure(ref, "t1") for ref in refs[21:])])
    opened = ledger.client.hmget(KEYS.policy("acme", "hook"), "failures", "openUntil", "openFor")
    until_ms = START_MS + 2 * OPEN_MS
    assert opened == ([b"20", b"%d" % until_ms, b"%d" % OPEN_MS] if failures == 20 else [b"19", None, None])


def test_closing_a_breaker_gives_out_the_calls_that_it_held_back(ledger):
    ledger.limit(retry=1)
    open_breaker(ledger)
    held = ledger.accepted_many(3)
    assert not ledger.store.claim(held, "t1").granted
    pages = ledger.policies.close_breaker("acme", "hook")
    assert sorted(ref for page in pages for ref in ids(page)) == sorted(held)
    assert ledger.store.claim(held, "t2").granted == set(held)


def test_an_operator_can_close_a_breaker(ledger):
    open_breaker(ledger)
    ledger.policies.close_breaker("acme", "hook")
    assert ledger.policies.traffic("acme", "hook").breaker == "closed"
    assert ledger.store.claim([ledger.accepted()], "t1").granted


@pytest.mark.parametrize("closes", ["contact", "operator"])
@pytest.mark.parametrize("failed_probes", [0, 1, 4])
def test_a_breaker_that_was_closed_opens_like_one_that_never_was_open(ledger, closes, failed_probes):
    open_breaker(ledger)
    for _ in range(failed_probes):
        ledger.limit(openUntil=1)
        ledger.store.settle([ledger.failure(*ledger.claimed())])
    if closes == "contact":
        ledger.limit(openUntil=1)
        ledger.store.settle([ledger.settlement(*ledger.claimed(), contacted=True)])
    else:
        ledger.policies.close_breaker("acme", "hook")
    assert ledger.policies.traffic("acme", "hook").failures == 0
    refs = ledger.accepted_many(20)
    assert ledger.store.claim(refs, "t-again").granted == set(refs)
    for index, ref in enumerate(refs, 1):
        ledger.store.settle([ledger.failure(ref, "t-again")])
        assert ledger.policies.traffic("acme", "hook").breaker == ("open" if index == len(refs) else "closed")
    assert 25 < ledger.policies.traffic("acme", "hook").open_until_ms / 1000 - time.time() < 35


def test_an_operator_sees_no_call_running_whose_lease_has_ended(ledger):
    refs = ledger.accepted_many(3)
    ledger.store.claim(refs, "t1")
    for index, ref in enumerate(refs, 1):
        ledger.lose_lease(ref)
        ledger.client.zadd(KEYS.running("acme", "hook"), {ref: 1})
        assert ledger.policies.traffic("acme", "hook").running == len(refs) - index


def test_how_the_calls_of_several_webhooks_stand_is_said_in_the_order_of_the_question(ledger):
    for number, name in enumerate(("none", "one", "two"), 0):
        ledger.client.hset(KEYS.webhooks("acme"), name, 1)
        refs = [ledger.accepted(webhook_id=name) for _ in range(number + number)]
        ledger.store.claim(refs[:number], f"t-{name}")
        ledger.client.hset(
            KEYS.policy("acme", name), mapping={"paused": "1" if name == "one" else "", "failures": number}
        )
        ledger.client.hset(KEYS.policy("acme", name), "concurrency", number or "")
        ledger.store.claim(refs[number:], f"u-{name}")
    for order in (["none", "one", "two"], ["two", "none", "one"], ["one"]):
        found = ledger.policies.traffics("acme", order)
        assert [(each.running, each.parked, each.failures) for each in found] == [
            {"none": (0, 0, 0), "one": (1, 1, 1), "two": (2, 2, 2)}[name] for name in order
        ]
        assert [each.paused for each in found] == [name == "one" for name in order]


def test_an_operator_sees_how_a_webhooks_calls_stand(ledger):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(3)
    ledger.store.claim(refs, "t1")
    ledger.policies.pause("acme", "hook")
    traffic = ledger.policies.traffic("acme", "hook")
    assert (traffic.paused, traffic.breaker, traffic.parked, traffic.running) == (True, "closed", 2, 1)


def test_more_parked_calls_than_a_page_are_all_resumed(ledger):
    ledger.policies.pause("acme", "hook")
    refs = ledger.accepted_many(400) + ledger.accepted_many(90)
    for start in range(0, len(refs), 100):
        ledger.store.claim(refs[start : start + 100], f"t{start}")
    assert sorted(resumed(ledger)) == sorted(refs)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_parked_calls_of_every_page_are_resumed_once(ledger, monkeypatch, count):
    monkeypatch.setattr(policies_module, "_PAGE", 2)
    ledger.policies.pause("acme", "hook")
    refs = ledger.accepted_many(count) if count else []
    ledger.store.claim(refs, "t")
    pages = list(islice(ledger.policies.resume("acme", "hook"), 10))
    assert sorted(ref for page in pages for ref in ids(page)) == sorted(refs)
    assert all(len(page) <= 2 for page in pages)


def test_cancelling_the_oldest_under_a_rate_hands_its_alarm_to_the_next(ledger):
    ledger.limit(rateCount=6, ratePeriod=60_000)
    refs = ledger.accepted_many(3)
    ledger.store.claim(refs, "t1")
    ledger.store.cancel(refs[1])
    assert ledger.client.zscore(KEYS.due_running(), refs[2]) / 1000 - time.time() < 11


def not_tried(ledger, ref, token):
    """Settle a call, meant to probe the endpoint, that says nothing about the endpoint."""
    return ledger.settlement(
        ref,
        token,
        state=State.UNREACHABLE,
        outcome=Outcome.PREPARE_FAILED,
        status=0,
        error=True,
        attempt=Attempt(1, 1, 0, 0, Outcome.PREPARE_FAILED, Sent.NO),
        result=b"",
    )


PROBES = {
    "given back": lambda ledger, ref, token: ledger.store.release([ref], token),
    "prepare_failed": lambda ledger, ref, token: ledger.store.settle([not_tried(ledger, ref, token)]),
    "rejected": lambda ledger, ref, token: ledger.store.settle(
        [not_tried(ledger, ref, token)._replace(state=State.REJECTED, outcome=Outcome.REQUEST_REJECTED)]
    ),
}


@pytest.mark.parametrize("end", PROBES.values(), ids=PROBES)
def test_a_probe_that_was_never_tried_leaves_the_breaker_half_open_for_the_next_call(ledger, end):
    ledger.limit(retry=1)
    open_breaker(ledger)
    ledger.limit(openUntil=1)
    first, second = ledger.accepted_many(2)
    assert ledger.store.claim([first], "t1").granted == {first}
    assert ledger.store.claim([second], "t2").granted == set()
    ledger.client.hset(KEYS.record(second), "notBefore", 1)
    end(ledger, first, "t1")
    assert ledger.policies.traffic("acme", "hook").breaker == "half-open"
    assert ledger.store.claim([second], "t3").granted == {second}


def test_what_another_call_leaves_does_not_end_the_probe_of_one_that_is_under_way(ledger):
    ledger.limit(retry=1)
    open_breaker(ledger)
    before, token = ledger.accepted(), ledger.token()
    ledger.limit(openUntil=0)
    ledger.store.claim([before], token)
    ledger.limit(openUntil=1)
    probe, other = ledger.accepted_many(2)
    assert ledger.store.claim([probe], "t1").granted == {probe}
    ledger.store.settle([not_tried(ledger, before, token)])
    assert ledger.store.claim([other], "t2").granted == set()


@pytest.mark.parametrize(("tat_ms", "alarms"), [(START_MS - 60_000, {"queued"}), (START_MS - 59_999, {"running"})])
def test_a_call_that_is_parked_under_a_rate_is_looked_at_soon_where_the_rate_is_used_up(clock, ledger, tat_ms, alarms):
    clock.set_ms(START_MS)
    ledger.limit(rateCount=1, ratePeriod=60_000, tat=tat_ms)
    ledger.client.zadd(KEYS.running("acme", "hook"), {"another": START_MS + 1})
    ref = ledger.accepted()
    ledger.store.claim([], "t1", park=[ref])
    assert ledger.alarms(ref) == alarms
