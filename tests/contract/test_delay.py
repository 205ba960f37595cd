"""Delayed calls: queued with a time before which they are not sent, by means of the usual alarms."""

from __future__ import annotations

import time

from relay.domain.invocation import State
from relay.store.keys import keyspace
from tests.contract.clocked import START_MS
from tests.contract.ledger import DAY_MS
from tests.store_keys import KEYS

MINUTE_MS = 60_000


def past_delay(ledger, ref):
    """Make the call's delay be over."""
    ledger.client.hset(KEYS.record(ref), "notBefore", 1)
    ledger.client.zadd(KEYS.due_running(), {ref: 1})


def test_a_delayed_call_is_queued_and_says_when_it_may_go(ledger):
    ref = ledger.accepted(delay_ms=MINUTE_MS)
    record = ledger.store.find(ref)
    assert record.state is State.QUEUED
    assert record.not_before_ms == record.created_at_ms + MINUTE_MS
    assert ledger.alarms(ref) == {"running"}
    assert ledger.client.zscore(KEYS.due_running(), ref) == record.not_before_ms


def test_nobody_sends_it_before_whatever_message_comes(ledger):
    ref = ledger.accepted(delay_ms=MINUTE_MS)
    before = ledger.everything()
    claimed = ledger.store.claim([ref], ledger.token())
    assert (claimed.granted, claimed.parked) == (set(), set())
    assert ledger.store.claim([], ledger.token(), park=[ref]).parked == set()
    assert ledger.store.sweep(limit=10) == ()
    after = ledger.everything()
    noted = keyspace.shared("workers").encode(), b"relay:{0}:sweeps", b"relay:{0}:due:backlog:"  # what a sweep notes
    assert not [key for key in after if after[key] != before.get(key) and not key.startswith(noted)]


def test_when_its_time_comes_it_is_published_at_once_whatever_its_lane_holds(ledger):
    ref = ledger.accepted(delay_ms=MINUTE_MS)
    past_delay(ledger, ref)
    assert ledger.store.sweep(limit=10) == ((ref, "bulk"),)
    assert ledger.alarms(ref) == {"queued"}
    token = ledger.token()
    assert ledger.store.claim([ref], token).granted == {ref}
    ledger.store.settle([ledger.settlement(ref, token)])
    assert ledger.state(ref) is State.DELIVERED


def test_a_delayed_call_can_be_cancelled(ledger):
    ref = ledger.accepted(delay_ms=MINUTE_MS)
    ledger.store.cancel(ref)
    assert (ledger.state(ref), ledger.alarms(ref)) == (State.CANCELLED, set())


def test_its_age_counts_from_when_it_may_be_sent_first(ledger):
    ref = ledger.accepted(delay_ms=MINUTE_MS, max_age_ms=1_000)
    assert ledger.time_ms(ref, "endBy") == ledger.time_ms(ref, "createdAt") + MINUTE_MS + 1_000
    other = ledger.accepted(delay_ms=10 * DAY_MS)
    assert ledger.time_ms(other, "endBy") == ledger.time_ms(other, "createdAt") + 11 * DAY_MS


def test_a_delayed_chain_has_its_whole_time_when_it_begins(ledger):
    ref = ledger.accepted(pins="{}", timeout_ms=120_000, delay_ms=MINUTE_MS)
    assert ledger.time_ms(ref, "deadline") == ledger.time_ms(ref, "createdAt") + MINUTE_MS + 120_000


def test_a_group_with_a_delayed_call_leaves_no_other_one_waiting(ledger):
    delayed, plain = ledger.new(delay_ms=MINUTE_MS), ledger.new()
    ledger.store.accept([delayed, plain], [("bulk", b"")])
    assert ledger.store.waiting.take(0, ["bulk"], most=10).reference_ids == [plain.reference_id]
    assert ledger.client.zscore(KEYS.due_running(), delayed.reference_id) / 1000 - time.time() > 50


def test_a_claim_tells_how_long_a_first_attempt_could_have_been_made(clock, ledger):
    at_once, delayed = ledger.accepted(), ledger.accepted(delay_ms=1_000)
    clock.set_ms(START_MS + 2_500)
    token = ledger.token()
    assert ledger.store.claim([at_once, delayed], token).waited_ms == {at_once: 2_500, delayed: 1_500}
    ledger.store.settle([ledger.failure(at_once, token, state=State.RETRYING, delay_ms=1_000)])
    clock.set_ms(START_MS + 9_000)
    again = ledger.store.claim([at_once], ledger.token())
    assert (again.granted, again.waited_ms) == ({at_once}, {})
