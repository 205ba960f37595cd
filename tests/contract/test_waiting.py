"""Tests of the lists of calls that wait for a worker, and of the messages that say so."""

from __future__ import annotations

import pytest

from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import REPLAY_PREFIX, new_reference_id
from relay.queue import GROUP_IDS, LANES
from relay.store.ledger.invocations import GRACE_MS
from relay.store.ledger.waiting import TAKEN_BYTES
from tests.contract.clocked import START_MS
from tests.store_keys import KEYS

ELSEWHERE = [("bulk", b"")]
FIVE_MINUTES = 300


def elsewhere(lanes, _partition):
    return [(lane, b"") for lane in lanes]


def taken(ledger, most=1_000, lanes=("bulk",)):
    return ledger.store.waiting.take(0, lanes, most=most).reference_ids


def refs_of(news):
    return [new.reference_id for new in news]


def news_of(ledger, count, **changes):
    return [ledger.new(**changes) for _ in range(count)]


def pass_time(ledger, ms):
    """Move all that is kept of calls' times back, as if this much time had passed."""
    for lane in LANES:
        for ref, at in ledger.client.zrange(KEYS.due_queued(lane), 0, -1, withscores=True):
            ledger.client.zadd(KEYS.due_queued(lane), {ref: int(at) - ms})
    for key in ledger.client.keys("relay:{0}:inv:*"):
        if ledger.client.type(key) == b"hash":
            ledger.client.hincrby(key, "readyAt", -ms)


def test_accepted_calls_wait_in_order_until_they_are_taken(ledger):
    groups = [news_of(ledger, count) for count in (1, 3, 2)]
    for group in groups:
        ledger.store.accept(group, ELSEWHERE)
    expected = [ref for group in groups for ref in refs_of(group)]
    some = ledger.store.waiting.take(0, ["bulk"], most=4)
    assert (some.reference_ids, some.more) == (expected[:4], True)
    assert [record.reference_id for record in some.records] == expected[:4]
    assert {record.payload for record in some.records} == {b"\x01sealed"}
    rest = ledger.store.waiting.take(0, ["bulk"], most=4)
    assert (rest.reference_ids, rest.more) == (expected[4:], False)
    assert taken(ledger) == []


def test_the_call_that_finds_its_lane_empty_causes_a_message_and_then_every_group(ledger):
    said = [len(ledger.store.accept([ledger.new()], ELSEWHERE)[1]) for _ in range(2 * GROUP_IDS + 2)]
    assert [number for number, count in enumerate(said) if count] == [0, GROUP_IDS, 2 * GROUP_IDS]
    taken(ledger)
    assert ledger.store.accept([ledger.new()], ELSEWHERE)[1] == [("bulk", 0)]


@pytest.mark.parametrize("count", [1, GROUP_IDS, GROUP_IDS + 1, 3 * GROUP_IDS])
def test_a_script_puts_messages_into_lanes_that_it_can_reach(ledger, count):
    news = news_of(ledger, count, lane="{0}bulk")  # a key that the script's server has, in a cluster too
    _, left = ledger.store.accept(news, [("{0}interactive", b"other"), ("{0}bulk", b"message")])
    assert left == []
    assert ledger.client.lrange("{0}bulk", 0, -1) == [b"message"] * -(-count // GROUP_IDS)
    assert not ledger.client.exists("{0}interactive")


def test_only_calls_that_may_be_sent_now_wait(ledger):
    refused = ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"")
    stale, large = ledger.new(revision=2), ledger.new(request_bytes=1 << 21)
    plain, delayed = ledger.new(), ledger.new(delay_ms=60_000)
    ledger.store.accept([refused, stale, large, plain, delayed], ELSEWHERE)
    assert taken(ledger) == [plain.reference_id]


def test_a_repeated_accept_lets_no_call_wait_twice(ledger):
    news = news_of(ledger, 3)
    first = ledger.store.accept(news, ELSEWHERE)
    again, messages = ledger.store.accept(news, ELSEWHERE)
    assert (again, messages) == (first[0], [])
    assert taken(ledger) == refs_of(news)


def test_a_call_that_a_group_names_twice_is_accepted_and_waits_once(ledger):
    (new,) = news_of(ledger, 1)
    (first, second), _ = ledger.store.accept([new, new], ELSEWHERE)
    assert first == second
    assert ledger.client.hget(KEYS.pending(), "count") == b"1"
    assert taken(ledger) == [new.reference_id]


def test_a_call_of_which_no_lane_is_named_does_not_wait(ledger):
    ledger.store.accept([ledger.new()], ())
    ledger.store.accept([ledger.new()], [("interactive", b"")])
    assert taken(ledger, lanes=LANES) == []


def test_the_first_lanes_calls_are_taken_first(ledger):
    bulk, urgent = news_of(ledger, 3), news_of(ledger, 2, lane="interactive")
    ledger.store.accept([*bulk, *urgent], elsewhere(LANES, 0))
    assert taken(ledger, lanes=LANES, most=4) == [*refs_of(urgent), *refs_of(bulk[:2])]
    assert taken(ledger, lanes=["replay", "interactive"]) == []
    assert taken(ledger, lanes=LANES) == refs_of(bulk[2:])


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_no_more_calls_are_taken_than_are_asked_for_whichever_lanes_they_are_in(ledger, most):
    news = [ledger.new(lane=lane) for lane in LANES for _ in range(2)]
    ledger.store.accept(news, elsewhere(LANES, 0))
    some = ledger.store.waiting.take(0, LANES, most=most)
    assert (some.reference_ids, some.more) == (refs_of(news[:most]), True)
    rest = ledger.store.waiting.take(0, LANES, most=len(news) - most)
    assert (rest.reference_ids, rest.more) == (refs_of(news[most:]), False)


@pytest.mark.parametrize("lane", ["interactive", "bulk"])
@pytest.mark.parametrize(("more", "count"), [(1, 2), (0, 3)])
def test_what_is_taken_at_once_is_bounded_by_bytes_too(ledger, more, count, lane):
    """The last call may go beyond the bound, so that what is exactly as much leaves room for another one."""
    news = news_of(ledger, 2, payload=b"x" * (TAKEN_BYTES // 2 + more), lane="interactive")
    news += news_of(ledger, 2, lane=lane)
    ledger.store.accept(news, elsewhere(LANES, 0))
    some = ledger.store.waiting.take(0, LANES, most=10)
    assert (some.reference_ids, some.more) == (refs_of(news[:count]), True)
    assert taken(ledger, lanes=LANES) == refs_of(news[count:])


def test_more_ready_calls_than_one_command_takes_are_queued_in_their_order(ledger):
    refs = [f"ref-{number}" for number in range(2_001)]
    assert ledger.store.waiting.queue([(ref, "bulk") for ref in refs], elsewhere) == [("bulk", 0)] * -(
        -2_001 // GROUP_IDS
    )
    assert ledger.client.lrange("relay:{0}:waiting:bulk", 0, -1) == [ref.encode() for ref in refs]


def test_a_single_call_is_taken_whatever_its_size(ledger):
    news = news_of(ledger, 2, payload=b"x" * (2 * TAKEN_BYTES))
    ledger.store.accept(news, ELSEWHERE)
    assert [taken(ledger) for _ in news] == [[ref] for ref in refs_of(news)]


def test_what_is_final_or_unknown_is_taken_without_a_record(ledger):
    news = news_of(ledger, 2)
    ledger.store.accept(news, ELSEWHERE)
    ledger.store.cancel(news[0].reference_id)
    unknown = new_reference_id("acme")
    ledger.store.waiting.queue(((unknown, "bulk"), (f"{REPLAY_PREFIX}{unknown}", "bulk")), elsewhere)
    found = ledger.store.waiting.take(0, LANES, most=10)
    assert found.reference_ids == [*refs_of(news), unknown, f"{REPLAY_PREFIX}{unknown}"]
    assert [record.reference_id for record in found.records] == refs_of(news[1:])


def test_ready_calls_are_queued_by_lane_with_what_remains_to_be_published(ledger):
    ready = [(ledger.accepted(lane=lane), lane) for lane in ("bulk", "interactive", "bulk")]
    assert sorted(ledger.store.waiting.queue(tuple(ready), elsewhere)) == [("bulk", 0), ("interactive", 0)]
    assert ledger.store.waiting.queue((ready[0],), elsewhere) == []
    assert taken(ledger) == [ready[0][0], ready[2][0], ready[0][0]]


# -- calls that were lost in a worker's hands --------------------------------------------------------------------------


def swept(ledger):
    return {ref for ref, _ in ledger.store.sweep(limit=1_000)}


def test_a_call_that_was_taken_and_lost_is_found_after_the_grace(ledger):
    (new,) = news_of(ledger, 1)
    ledger.store.accept([new], ELSEWHERE)
    taken(ledger)
    assert swept(ledger) == set()
    pass_time(ledger, GRACE_MS)
    assert swept(ledger) == {new.reference_id}
    assert swept(ledger) == set()  # it has the grace again
    pass_time(ledger, GRACE_MS)
    assert swept(ledger) == {new.reference_id}


def test_calls_that_wait_are_left_alone_however_long_they_wait(ledger):
    news = news_of(ledger, 300)
    ledger.store.accept(news, ELSEWHERE)
    for _ in range(FIVE_MINUTES // 30):
        pass_time(ledger, 30_000)
        assert swept(ledger) == set()
    assert taken(ledger) == refs_of(news)


def test_a_lost_call_is_found_while_younger_ones_wait(ledger):
    lost = news_of(ledger, 1)
    ledger.store.accept(lost, ELSEWHERE)
    taken(ledger)
    pass_time(ledger, GRACE_MS)
    younger = news_of(ledger, 300)
    ledger.store.accept(younger, ELSEWHERE)
    pass_time(ledger, GRACE_MS)
    assert swept(ledger) == set(refs_of(lost))
    assert taken(ledger) == refs_of(younger)


@pytest.mark.parametrize(("later_ms", "found"), [(999, False), (1_000, True)])
def test_a_lost_call_is_told_from_those_that_wait_if_they_came_a_second_later(clock, ledger, later_ms, found):
    lost, younger = ledger.new(), ledger.new()
    ledger.store.accept([lost], ELSEWHERE)
    assert taken(ledger) == [lost.reference_id]
    clock.set_ms(START_MS + later_ms)
    ledger.store.accept([younger], ELSEWHERE)
    clock.set_ms(START_MS + 60_000)
    assert swept(ledger) == ({lost.reference_id} if found else set())
    assert taken(ledger) == [younger.reference_id]


@pytest.mark.parametrize("limit", range(1, 9))
def test_a_sweep_takes_as_many_alarms_as_it_may_those_of_retries_first_and_then_lane_by_lane(ledger, limit):
    retried, token = ledger.accepted_many(2), ledger.token()
    ledger.store.claim(retried, token)
    ledger.store.settle([ledger.failure(ref, token, state=State.RETRYING, delay_ms=0) for ref in retried])
    due = {lane: [ledger.accepted(lane=lane) for _ in range(2)] for lane in LANES}
    for number, ref in enumerate(retried):
        ledger.client.zadd(KEYS.due_running(), {ref: 1 + number})
        ledger.client.hset(KEYS.record(ref), "notBefore", 1)
    for lane, refs in due.items():
        ledger.client.zadd(KEYS.due_queued(lane), {ref: 1 + number for number, ref in enumerate(refs)})
    expected = [*retried, *(ref for lane in LANES for ref in due[lane])]
    assert [ref for ref, _ in ledger.store.sweep(limit=limit)] == expected[:limit]
    assert [ref for ref, _ in ledger.store.sweep(limit=9)] == expected[limit:]
    assert ledger.store.sweep(limit=9) == ()
    assert ledger.client.hmget("relay:{0}:sweeps", "sweeps", "published") == [b"3", b"8"]


def test_a_lost_call_of_one_lane_is_found_while_another_is_long(ledger):
    lost = ledger.new(lane="interactive")
    ledger.store.accept([lost, *news_of(ledger, 300)], elsewhere(LANES, 0))
    taken(ledger, lanes=["interactive"])
    pass_time(ledger, GRACE_MS)
    assert swept(ledger) == {lost.reference_id}


@pytest.mark.parametrize("gone", ["final", "unknown"])
def test_what_does_not_wait_any_more_hides_no_lost_call(ledger, gone):
    lost, over = news_of(ledger, 1), news_of(ledger, 1)
    ledger.store.accept([*lost, *over], ELSEWHERE)
    taken(ledger)
    ledger.store.waiting.queue(((over[0].reference_id, "bulk"),), elsewhere)
    if gone == "final":
        ledger.store.cancel(over[0].reference_id)
    else:
        ledger.client.delete(KEYS.record(over[0].reference_id))
    pass_time(ledger, GRACE_MS)
    assert swept(ledger) == set(refs_of(lost))
    assert taken(ledger) == []


def test_a_replay_job_at_the_head_is_left_for_a_worker(ledger):
    job = f"{REPLAY_PREFIX}{new_reference_id('acme')}"
    ledger.store.waiting.queue(((job, "replay"),), elsewhere)
    pass_time(ledger, GRACE_MS)
    assert swept(ledger) == set()
    assert taken(ledger, lanes=LANES) == [job]
