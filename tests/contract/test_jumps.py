"""The server's clock goes back or forward, as it may if another machine takes over: what that costs is bounded."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from relay.errors import RateLimited
from relay.executor.access_tokens import FRESH_S, AccessToken
from relay.queue import REPLAYS
from relay.store.counts.measures import Measures
from relay.store.health.alerts import PERIOD_MS, Alerts, Condition
from relay.store.health.workers import SILENCE_MS, Workers, live_workers
from relay.store.keys import keyspace
from relay.store.ledger.acceptance import NewInvocation
from relay.store.ledger.callbacks import HOLD_MS, Callbacks
from relay.store.ledger.invocations import GRACE_MS
from relay.store.ledger.rates import PluginRates
from relay.store.registry.access_tokens import AccessTokenStore, RevisionId
from relay.store.rings.log import note_retired, retired_ms_ago
from relay.store.server.clock import time_ms_of
from relay.store.server.locks import take_lock
from relay.store.trail.trail import Trail
from tests.contract.clocked import PLUGIN, START_MS
from tests.contract.replay_harness import ReplayHarness
from tests.contract.store_and_model import ENDS, HOOKS, LEASE_MS, StoreAndModel, reference_id
from tests.store_keys import KEYS
from tests.timing import BUSY_S

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
JUMPS_MS = [sign * size for sign in (1, -1) for size in (MINUTE_MS, 10 * MINUTE_MS, DAY_MS)]
DELAY_MS, PAUSE_MS, BREAKER_MS = 45_000, 50_000, 30_000
#: Longer than any call below is held: a pause, leases, a breaker, turns in the slowest rate, one after the other.
LONGEST_MS = PAUSE_MS + 2 * LEASE_MS + BREAKER_MS + 90_000
each_jump = pytest.mark.parametrize("jump_ms", JUMPS_MS)


def under_way(client, hook):
    """Make calls in each unfinished state; return them with the one whose worker is alive, if it was granted."""
    both = StoreAndModel(client, [hook])
    both.sweep()
    for number in range(1, 8):
        both.accept(reference_id(number), hook, delay_ms=DELAY_MS if number == 7 else 0, published=False)
    both.settle(both.claim([reference_id(1)], "retried"), ENDS[3], delay_ms=PAUSE_MS)
    both.claim([reference_id(2)], "lost")
    alive = both.claim([reference_id(3)], "alive")
    both.claim([reference_id(4)], "parking", park=[reference_id(5)])
    both.messages.clear()  # 6 was taken, and its worker died
    both.in_flight.clear()
    return both, alive


def work_to_the_end(both, alive=()):
    """Let workers sweep and work, second by second, until every call has ended; return how often each was sent."""
    began_ms, sent = both.model.now, Counter()
    while both.unfinished():
        both.sweep()
        both.check()
        both.wake()
        both.expire()
        for refs in [both.messages.pop() for _ in range(len(both.messages))]:
            token = f"after-{both.model.now}-{refs[0]}-{len(both.messages)}"
            if granted := both.claim(refs, token):
                sent.update(ref for ref, _ in granted)
                both.settle(granted)
        both.settle(list(alive))
        alive = ()
        both.pass_time(1_000)
        assert both.model.now - began_ms < LONGEST_MS, both.unfinished()
    return sent


@each_jump
@pytest.mark.parametrize("hook", HOOKS)
def test_a_jump_of_the_server_s_clock_loses_nothing_and_sends_nothing_twice(valkey, hook, jump_ms):
    with valkey.client() as client:
        both, alive = under_way(client, hook)
        held = {ref for ref, call in both.model.calls.items() if call.state == "sending"}
        both.pass_time(jump_ms)
        went_back = jump_ms < 0
        sent = work_to_the_end(both, alive if went_back else ())
        if went_back:  # the living worker keeps its lease
            held -= {ref for ref, _ in alive}
        for ref, call in both.model.calls.items():
            is_lost = ref in held and not HOOKS[hook].repeatable
            aged = call.outcomes and call.outcomes[-1] == "expired"
            assert call.state == ("interrupted" if is_lost else "unreachable" if aged else "delivered")
            assert sent[ref] <= (0 if is_lost else 1)
            assert not aged or HOOKS[hook].max_age <= max(jump_ms, LONGEST_MS)


@each_jump
def test_after_a_jump_calls_that_were_taken_and_lost_are_found_and_none_waits_twice(valkey, jump_ms):
    with valkey.client() as client:
        both, copies = StoreAndModel(client, ["plain"]), Counter()
        both.sweep()
        refs = [reference_id(number) for number in range(1, 121)]
        ledger, waiting = both.ledger, both.store.waiting
        news = [
            NewInvocation(ref, PLUGIN, "plain", 1, "bulk", 20_000, payload=b"sealed", request_bytes=6) for ref in refs
        ]
        for number, new in enumerate(news):
            ledger.set_ms(START_MS + 10 * number)
            both.store.accept([new], [("bulk", b"")])
        lost = set(waiting.take(0, ["bulk"], most=20).reference_ids)
        for second in range(40):
            ledger.set_ms(START_MS + 1_200 + jump_ms + 1_000 * second)
            ready = both.store.sweep(limit=7)  # looks at the alarms ahead piece by piece
            copies.update(ref for ref, _ in ready)
            waiting.queue(ready, lambda lanes, _: [(lane, b"") for lane in lanes])
            taken = waiting.take(0, ["bulk"], most=5).reference_ids
            granted = both.store.claim(taken, f"t{second}").granted
            both.store.settle([both._settlement(ref, f"t{second}", ENDS[0], 0) for ref in granted])
        assert int(client.hget(KEYS.pending(), "count")) == 0
        assert copies == dict.fromkeys(lost, 1)


@pytest.mark.parametrize(("back_ms", "looked_at"), [(0, 0), (1_000, 0), (1_001, 3), (10_000, 3)])
def test_sweeps_look_at_every_alarm_ahead_in_turn_once_the_clock_has_gone_back_by_more_than_a_second(
    redis_client, clock, ledger, back_ms, looked_at
):
    refs = ledger.accepted_many(3)
    assert ledger.store.claim(refs, "t1").granted == set(refs)
    clock.set_ms(START_MS + 20_000)
    clock.store.sweep(limit=100)
    clock.set_ms(START_MS + 20_000 - back_ms)
    looks_on = []
    for _ in range(5):
        clock.store.sweep(limit=1)
        looks_on.append(bool(redis_client.hexists("relay:{0}:sweeps", "jumpedAt")))
    assert looks_on == [True] * looked_at + [False] * (5 - looked_at)


@each_jump
@pytest.mark.parametrize("probes", [False, True], ids=["open", "probing"])
@pytest.mark.parametrize("hook", ["plain", "two", "quick"])
def test_a_breaker_is_open_for_no_longer_than_it_was_to_be(valkey, hook, probes, jump_ms):
    with valkey.client() as client:
        both = StoreAndModel(client, [hook])
        both.sweep()
        for number in range(1, 6):
            both.accept(reference_id(number), hook, published=False)
        for number in (1, 2):  # it had failed eighteen times
            both.settle(both.claim([reference_id(number)], f"failing{number}"), ENDS[1])
        assert both.model.hooks[hook].breaker(both.model.now) == "open"
        both.claim([reference_id(3)], "held")
        if probes:
            both.pass_time(BREAKER_MS)
            assert both.claim([reference_id(4)], "probe")  # and its worker is gone
            both.in_flight.clear()
            both.sweep()
        both.messages.clear()
        both.pass_time(jump_ms)
        work_to_the_end(both)
        both.pass_time(BREAKER_MS)
        both.accept(reference_id(6), hook)
        work_to_the_end(both)
        assert both.model.calls[reference_id(6)].state == "delivered"


@pytest.mark.parametrize("ahead_ms", [0, BREAKER_MS + 1_000, 10 * MINUTE_MS])
def test_a_breaker_is_shown_as_it_acts(redis_client, clock, ahead_ms):
    until_ms = time_ms_of(redis_client) + ahead_ms
    redis_client.hset(KEYS.policy(PLUGIN, "hook"), mapping={"openUntil": until_ms, "openFor": BREAKER_MS})
    shown = clock.policies.traffic(PLUGIN, "hook")
    assert shown.breaker == ("open" if 0 < ahead_ms <= BREAKER_MS + 1_000 else "half-open")


def refused_for_ms(rates, count):
    try:
        rates.take(PLUGIN, count)
    except RateLimited as refused:
        return refused.retry_after_s * 1_000
    return 0


@each_jump
@pytest.mark.parametrize("count", [1, 10, 25])
def test_a_plugin_s_rate_refuses_for_no_longer_than_it_is_used_up(redis_client, clock, count, jump_ms):
    rates = PluginRates(redis_client, "10/m")
    rates.take(PLUGIN, count)
    longest_ms = count * 6_000 + 1_000
    clock.set_ms(START_MS + jump_ms)
    to_wait_ms = refused_for_ms(rates, 10)
    assert to_wait_ms <= longest_ms
    clock.set_ms(START_MS + jump_ms + to_wait_ms)
    assert to_wait_ms == 0 or refused_for_ms(rates, 10) == 0
    assert refused_for_ms(rates, 1) > 0


def test_a_clock_that_is_set_a_little_back_gives_nobody_a_second_burst(redis_client, clock):
    rates = PluginRates(redis_client, "10/m")
    rates.take(PLUGIN, 10)
    clock.set_ms(START_MS - 1_000)
    with pytest.raises(RateLimited):
        rates.take(PLUGIN)


def test_a_clock_that_is_set_a_little_back_lets_no_call_go_beyond_its_webhook_s_rate(clock, ledger):
    ledger.limit(rateCount=10, ratePeriod=1_000)
    refs = ledger.accepted_many(11)
    assert ledger.store.claim(refs[:10], "t1").granted == set(refs[:10])
    clock.set_ms(START_MS - 500)
    assert ledger.store.claim(refs[10:], "t2").parked == set(refs[10:])


@each_jump
def test_who_died_before_a_jump_is_alive_for_no_longer_than_a_silence(redis_client, clock, jump_ms):
    workers = Workers(redis_client)
    for name in ("gone", "lives"):
        workers.beat(name, ["bulk"])
    jumped_ms = START_MS + jump_ms
    clock.set_ms(jumped_ms)
    workers.beat("lives", ["bulk"])
    assert workers.number_alive == 1
    beats = redis_client.zrange(keyspace.shared("workers"), 0, -1, withscores=True)
    assert [each.name for each in live_workers(beats, {}, jumped_ms)] == ["lives"]
    assert redis_client.hexists(keyspace.shared("worker_lanes"), "lives")


@pytest.mark.parametrize(("silent_ms", "lives"), [(-SILENCE_MS, True), (-SILENCE_MS - 1, False)])
def test_a_heartbeat_from_ahead_counts_as_little_as_an_old_one(silent_ms, lives):
    found = [*live_workers([(b"w1", START_MS - silent_ms)], {}, START_MS)]
    assert [each.silent_ms for each in found] == ([0] if lives else [])


@each_jump
@pytest.mark.parametrize("taken", [False, True])
def test_a_callback_is_told_soon(redis_client, clock, taken, jump_ms):
    ref = reference_id(1)
    end = {"state": "delivered", "plugin": PLUGIN, "callback": "told", "status": 200, "error": 0, "webhook": "hook"}
    redis_client.hset(KEYS.record(ref), mapping=end | {"finishedAt": START_MS, "revision": 1})
    redis_client.zadd(KEYS.callbacks(0), {ref: START_MS})
    callbacks = Callbacks(redis_client)
    if taken:
        assert callbacks.take(0, 5)  # by a worker that dies
    clock.set_ms(START_MS + jump_ms)
    assert [each.reference_id for each in callbacks.take(0, 5)] == [ref]
    assert callbacks.take(0, 5) == []
    clock.set_ms(START_MS + jump_ms + HOLD_MS)
    assert [each.reference_id for each in callbacks.take(0, 5)] == [ref]


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 6])
def test_no_more_callbacks_are_handed_out_than_were_asked_for(redis_client, clock, limit):
    refs = [reference_id(number) for number in range(5)]
    end = {"state": "delivered", "plugin": PLUGIN, "callback": "told", "status": 200, "error": 0, "webhook": "hook"}
    for ref in refs:
        redis_client.hset(KEYS.record(ref), mapping=end | {"finishedAt": START_MS, "revision": 1})
    ahead_ms = START_MS + HOLD_MS + 1  # further than any hold, so the clock has gone back
    redis_client.zadd(KEYS.callbacks(0), dict.fromkeys(refs[:3], START_MS) | dict.fromkeys(refs[3:], ahead_ms))
    taken = [each.reference_id for each in Callbacks(redis_client).take(0, limit)]
    assert taken == refs[:limit]
    assert [each.reference_id for each in Callbacks(redis_client).take(0, 6)] == refs[limit:]


@each_jump
def test_an_alert_fires_once_it_has_held_for_long_enough(redis_client, clock, jump_ms):
    alerts, holds = Alerts(redis_client, PLUGIN), Condition("lane_unserved bulk", True, {}, hold_ms=MINUTE_MS)
    assert alerts.evaluate([holds]) == []
    clock.set_ms(START_MS + jump_ms)
    alerts.evaluate([holds])
    clock.set_ms(START_MS + jump_ms + MINUTE_MS)
    assert [each.state for each in alerts.evaluate([holds])] == ["firing"]


@each_jump
def test_a_replay_job_whose_holder_is_lost_goes_on_within_a_minute(redis_client, clock, ledger, jump_ms):
    clock.store.sweep(limit=100)
    replaying = ReplayHarness(ledger)
    replaying.failed(3)
    job = replaying.start()
    assert replaying.runs.claim(job.replay_id, "lost")
    clock.set_ms(START_MS + jump_ms)
    for second in range(75):
        clock.set_ms(START_MS + jump_ms + 1_000 * second)
        ready = clock.store.sweep(limit=100)
        if (f"replay-{job.replay_id}", REPLAYS) in ready and replaying.runs.claim(job.replay_id, "next"):
            break
    else:
        pytest.fail("nobody can hold the job")


@pytest.mark.parametrize(("ahead_ms", "is_over"), [(20_000, False), (61_000, False), (61_001, True)])
def test_a_replay_job_stays_its_holder_s_unless_the_lease_seems_to_last_a_minute_more(
    redis_client, clock, ledger, ahead_ms, is_over
):
    clock.store.sweep(limit=100)
    replaying = ReplayHarness(ledger)
    replaying.failed(1)
    job = replaying.start()
    assert replaying.runs.claim(job.replay_id, "holder")
    name = (f"replay-{job.replay_id}", REPLAYS)
    lease_end_ms = int(redis_client.hget(KEYS.replay(job.replay_id), "leaseEnd"))
    clock.set_ms(lease_end_ms - ahead_ms)
    assert (name in clock.store.sweep(limit=100)) == is_over
    looked_at_ms = redis_client.zscore(KEYS.due_running(), name[0])
    assert looked_at_ms == (lease_end_ms - ahead_ms + GRACE_MS if is_over else lease_end_ms)


@each_jump
def test_a_replay_job_is_paced_as_before(redis_client, clock, ledger, jump_ms):
    replaying = ReplayHarness(ledger)
    replaying.failed(4)
    job = replaying.start(rate_per_second=1)
    replaying.step(job, replaying.take(job))
    clock.set_ms(START_MS + jump_ms)
    token = replaying.take(job)
    for second in range(8):
        clock.set_ms(START_MS + jump_ms + 1_000 * second)
        replaying.step(job, token)
    assert replaying.job(job).started == 4


@each_jump
def test_a_chain_that_waits_is_looked_at_after_its_timeout_at_the_latest(redis_client, clock, jump_ms):
    clock.store.sweep(limit=100)
    ref = reference_id(1)
    waiting = {
        "state": "waiting",
        "lane": "bulk",
        "plugin": PLUGIN,
        "webhook": "chain",
        "chain": 1,
        "timeout": MINUTE_MS,
    }
    redis_client.hset(KEYS.record(ref), mapping=waiting | {"deadline": START_MS + MINUTE_MS, "readyAt": START_MS})
    redis_client.zadd(KEYS.due_running(), {ref: START_MS + MINUTE_MS})
    clock.set_ms(START_MS + jump_ms)
    looked = set(clock.store.sweep(limit=100))
    clock.set_ms(START_MS + jump_ms + MINUTE_MS)
    assert looked | set(clock.store.sweep(limit=100)) == {(ref, "bulk")}
    assert int(redis_client.hget(KEYS.record(ref), "deadline")) <= START_MS + jump_ms + MINUTE_MS or jump_ms > 0


def locks_of(client):
    tokens, revision_id = AccessTokenStore(client), RevisionId(PLUGIN, "hook", 1, "s")
    return {
        "alerts": (KEYS.alerts(PLUGIN, "alerts_lock"), Alerts(client, PLUGIN).take_lock, PERIOD_MS),
        "counting": (KEYS.counting_lock(0), Measures(client).count_everything, 1_500),
        "signing": (keyspace.audit("lock", "relay:{0}:"), lambda: Trail(client).take_lock("next"), 5_000),
        "token": (
            KEYS.access_token_fetcher(PLUGIN, "hook", 1),
            lambda: tokens.lock_fetch(revision_id, "next", 7.5),
            7_500,
        ),
    }


@pytest.mark.parametrize("jump_ms", [jump_ms for jump_ms in JUMPS_MS if jump_ms < 0])
@pytest.mark.parametrize("name", ["alerts", "counting", "signing", "token"])
def test_a_lock_of_a_lost_process_lasts_no_longer_than_it_was_to(redis_client, name, jump_ms):
    key, take, lock_ms = locks_of(redis_client)[name]
    redis_client.set(key, "lost", px=lock_ms - jump_ms)  # what is left of it after the jump
    assert not take()
    assert redis_client.pttl(key) <= lock_ms


def test_a_token_that_seems_to_come_from_ahead_is_not_fresh(monkeypatch):
    def fetched(ago_s):
        monkeypatch.setattr("relay.executor.access_tokens.time.time", lambda: 1_000.0 + ago_s)
        return AccessToken(RevisionId(PLUGIN, "hook", 1, "s"), None, "text", b"", 1_000.0, 2_000.0).fresh

    assert [fetched(ago_s) for ago_s in (-600, -FRESH_S, 0, FRESH_S)] == [False, False, True, False]


def kept_times(client, about_ms):
    """Return where the store keeps times: the fields of hashes, and the names of other keys."""
    found = set()

    def is_time(text):
        return bool(re.fullmatch(rb"\d{13}(\d{3} \d+|\.\d+)?", text)) and abs(int(text[:13]) - about_ms) < 40 * DAY_MS

    for key in client.scan_iter(count=1_000):
        kind, name = client.type(key), key.decode().split("}:")[-1].removeprefix(f"p:{PLUGIN}:").split(":")[0]
        if kind == b"hash":
            found |= {field.decode() for field, value in client.hgetall(key).items() if is_time(value)}
        elif kind == b"zset":
            found |= {name for _, score in client.zrange(key, 0, 0, withscores=True) if is_time(b"%d" % score)}
        elif kind == b"string" and is_time(client.get(key)):
            found.add(name)
    return found


def test_the_list_of_kept_times_is_complete(valkey, valkey_server, runs):
    with valkey_server.client() as client:
        found = kept_times(client, time_ms_of(client))
    with valkey.client() as client:
        both, _ = under_way(client, "quick")
        both.pass_time(-MINUTE_MS)
        both.sweep(limit=1)
        found |= kept_times(client, START_MS)
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text("utf-8")
    listed = page.partition("## Times that are kept")[2].partition("\n## ")[0]
    assert {"tat", "leaseEnd", "jumpedAt", "readyAt"} <= found
    assert found <= set(re.findall(r"`(\w+)`", listed))


def test_who_finds_a_lock_taken_does_not_make_it_last_longer(redis_client):
    assert take_lock(redis_client, "lock", "a", 10_000)
    for lock_ms, most_ms in ((60_000, 10_000), (10_000, 10_000), (500, 500), (60_000, 500)):
        assert not take_lock(redis_client, "lock", "b", lock_ms)
        assert redis_client.pttl("lock") <= most_ms


@pytest.mark.parametrize(("ago_ms", "told_ms"), [(5_000, 5_000), (0, 0), (-60_000, 0), (None, 0)])
def test_a_key_that_seems_to_be_retired_from_ahead_was_retired_just_now(redis_client, ago_ms, told_ms):
    note_retired(redis_client, "target", "k1")
    note_retired(redis_client, "data", "k2")
    if ago_ms is not None:
        at_ms = time_ms_of(redis_client) - ago_ms
        redis_client.hset(keyspace.shared("promotions"), "data:retired:k1", at_ms)
    assert told_ms <= retired_ms_ago(redis_client, "data", "k1") < told_ms + BUSY_S * 1_000
