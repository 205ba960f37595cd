"""The backlog: how many calls waited in each lane, per minute, as sweeps recorded it."""

import time

import pytest

from relay.domain.reference_id import REPLAY_PREFIX, new_reference_id, reference_id_about
from relay.store.counts.backlog import Backlog
from relay.store.counts.notes import HOUR_MS
from tests.contract.test_chain_groups import new_step
from tests.store_keys import KEYS
from tests.timing import BUSY_S

DAY_S = 24 * 3600


@pytest.fixture
def backlog(redis_client):
    return Backlog(redis_client)


def test_the_most_calls_that_waited_in_a_minute_are_kept(ledger, backlog, redis_client):
    lane = KEYS.due_queued("bulk")
    for waiting in (3, 1):
        redis_client.delete(lane)
        redis_client.zadd(lane, {f"id{number}": 1e15 for number in range(waiting)})
        ledger.store.sweep(limit=10)
    now_ms = backlog.minutes(["bulk"], 0)[-1].start_ms
    minutes = backlog.minutes(["bulk", "replay"], now_ms - 180_000)
    seen = [dict(each.pending) for each in minutes if each.pending["bulk"] is not None]
    assert {"bulk": 3, "replay": 0} in seen  # a new minute may have begun meanwhile
    assert minutes[0].pending == {"bulk": None, "replay": None}
    (noted,) = {KEYS.backlog(each.start_ms // 60_000) for each in minutes if each.pending["bulk"] == 3}
    assert DAY_S < redis_client.ttl(noted) <= DAY_S + 7200


def test_the_backlog_is_known_for_a_day_at_most(backlog):
    minutes = backlog.minutes(["bulk"], 0)
    assert len(minutes) == 24 * 60
    assert [each.start_ms for each in minutes] == list(range(minutes[0].start_ms, minutes[-1].start_ms + 1, 60_000))


def test_alarms_of_replay_jobs_have_no_age_and_hide_that_of_no_call(ledger, backlog, redis_client):
    jobs = {f"{REPLAY_PREFIX}{new_reference_id()}": 1 for _ in range(25)}
    redis_client.zadd(KEYS.due_queued("bulk"), jobs)
    (found,) = backlog.of(["bulk"])
    assert (found.pending, found.oldest_ms) == (25, None)
    ledger.accepted()
    (found,) = backlog.of(["bulk"])
    assert found.pending == 26
    assert 0 <= found.oldest_ms / 1_000 < BUSY_S


def test_old_calls_whose_alarms_were_postponed_behind_a_thousand_others_are_found_too(backlog, redis_client):
    now_ms = int(time.time() * 1_000)
    first, old = (
        [reference_id_about(str(number), now_ms - age_ms, "acme") for number in range(count)]
        for age_ms, count in ((0, 1_000), (HOUR_MS, 500))
    )
    redis_client.zadd(KEYS.due_queued("bulk"), dict.fromkeys(first, now_ms) | dict.fromkeys(old, now_ms + 1))
    pipeline = redis_client.pipeline(transaction=False)
    for ref in old:
        pipeline.hset(KEYS.record(ref), "createdAt", now_ms - HOUR_MS)
    pipeline.execute()
    (found,) = backlog.of(["bulk"])
    assert found.pending == 1_500
    assert 0 <= (found.oldest_ms - HOUR_MS) / 1_000 < BUSY_S


DELAYS_S = (None, 60, 600)


@pytest.mark.parametrize("second", DELAYS_S)
@pytest.mark.parametrize("first", DELAYS_S)
def test_the_oldest_call_has_waited_only_since_it_might_have_been_sent(ledger, backlog, redis_client, first, second):
    waited_s = []
    for created_s, delay_s in ((1_000, first), (900, second)):
        ref = ledger.accepted()
        created_ms = ledger.time_ms(ref, "createdAt") - created_s * 1_000
        fields = {"createdAt": created_ms}
        if delay_s is not None:
            fields["notBefore"] = created_ms + delay_s * 1_000
        redis_client.hset(KEYS.record(ref), mapping=fields)
        waited_s.append(created_s - (delay_s or 0))
    (found,) = backlog.of(["bulk"])
    assert found.pending == 2
    assert max(waited_s) <= found.oldest_ms / 1_000 < max(waited_s) + BUSY_S


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_chain_has_waited_only_since_its_last_step_ended(ledger, backlog, redis_client, has_begun):
    chain = ledger.accepted(pins='{"hook":1}', repeatable=True, timeout_ms=900_000)
    redis_client.hset(KEYS.record(chain), "createdAt", ledger.time_ms(chain, "createdAt") - HOUR_MS)
    if has_begun:
        step, token = new_step(), ledger.token()
        ledger.advance(chain, step)
        ledger.store.claim([step.reference_id], token)
        ledger.store.settle([ledger.settlement(step.reference_id, token)])
    (found,) = backlog.of(["bulk"])
    waited_ms = 0 if has_begun else HOUR_MS
    assert found.pending == 1
    assert waited_ms <= found.oldest_ms < waited_ms + BUSY_S * 1_000
