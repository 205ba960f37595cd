"""How long records and their contents are kept, each on its own, and contents that are destroyed on request."""

import time
from dataclasses import replace

import pytest

from relay.audit.actor import actor
from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.errors import Conflict, NotFound
from relay.store.keys.keyspace import SINGLE
from relay.store.ledger.transitions import NewStep
from relay.store.partitions.reachable import Partitions
from relay.store.replays.jobs import ReplayState
from relay.store.scripting.scripts import Scripts
from relay.upkeep import sweeper
from relay.upkeep.sweeper import PRUNING_S, RECORDS, Sweeper
from tests.contract.ledger import DAY_MS, LIMITS, Ledger
from tests.contract.replay_harness import ReplayHarness
from tests.store_keys import KEYS
from tests.timing import BUSY_S


def settled(ledger):
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(ref, token)])
    return ref


def test_contents_may_be_kept_for_less_long_than_their_records(redis_client):
    ledger = Ledger(redis_client, replace(LIMITS, contents_retention_ms=2 * DAY_MS))
    ref = settled(ledger)
    for key in (KEYS.payload(ref), KEYS.result(ref)):
        assert DAY_MS < redis_client.pttl(key) <= 2 * DAY_MS
    record = ledger.store.find(ref)
    assert record.expires_at_ms - record.finished_at_ms == LIMITS.retention_ms


def test_contents_are_kept_as_long_as_their_record_unless_said_otherwise(ledger):
    ref = settled(ledger)
    for key in (KEYS.payload(ref), KEYS.result(ref)):
        assert LIMITS.retention_ms - DAY_MS < ledger.client.pttl(key) <= LIMITS.retention_ms


def test_contents_are_never_kept_longer_than_their_record(redis_client):
    ledger = Ledger(redis_client, replace(LIMITS, contents_retention_ms=400 * DAY_MS))
    assert redis_client.pttl(KEYS.payload(settled(ledger))) <= LIMITS.retention_ms


def test_contents_past_their_retention_count_no_longer_and_cost_no_other_call_its_own(redis_client):
    redis_client.sadd(KEYS.plugins(), "acme")
    ledger = Ledger(redis_client, replace(LIMITS, contents_retention_ms=2 * DAY_MS))
    late, token = ledger.claimed()  # accepted first, and ends last
    time.sleep(0.002)
    refs = [settled(ledger) for _ in range(3)]
    each = bytes_of(redis_client)[1] // 3
    for ref in refs:
        redis_client.delete(KEYS.payload(ref), KEYS.result(ref))  # as the server does after two days
    redis_client.zadd(KEYS.expiry(), {f"contents-{ref}": 1 for ref in refs}, xx=True)
    ledger.store.settle([ledger.settlement(late, token)])
    bounded = Ledger(redis_client, replace(LIMITS, max_kept_bytes_per_plugin=each))
    assert bounded.store.prune(limit=10) == 3
    assert bytes_of(redis_client)[1] == each
    assert bounded.store.drop_contents(limit=10)[0] == 0
    assert has_contents(bounded, late) == (True, True)
    assert bounded.store.prune(limit=10) == 0
    for ref in refs:
        assert bounded.store.find(ref).state is State.DELIVERED
        bounded.store.forget("acme", ref)
    redis_client.zadd(KEYS.expiry(), dict.fromkeys(refs, 1))
    assert bounded.store.prune(limit=10) == 3
    assert bytes_of(redis_client)[1] == each


def test_forgetting_destroys_the_contents_and_keeps_the_record(ledger):
    ref = settled(ledger)
    before = ledger.store.find(ref)
    after = ledger.store.forget("acme", ref)
    assert after.forgotten_at_ms is not None
    assert replace(after, forgotten_at_ms=None) == before
    assert ledger.store.payload_of(ref) is None
    assert ledger.store.result_of(ref) is None
    assert ledger.store.forget("acme", ref) == after
    entries = [entry.decode().split(" ")[1:] for entry in ledger.client.lrange("relay:{0}:audit:entries", 0, -1)]
    noted = [entry for entry in entries if entry[0] == "forget"]
    assert noted == [["forget", actor(), "acme", "hook", "", "forgotten", "", "", ref]] * 2


def test_what_is_not_final_cannot_be_forgotten(ledger):
    ref = ledger.accepted()
    with pytest.raises(Conflict) as caught:
        ledger.store.forget("acme", ref)
    assert caught.value.reference_id == ref
    assert ledger.store.payload_of(ref) is not None


def test_only_its_own_plugin_can_forget_an_invocation(ledger):
    ref = settled(ledger)
    for plugin, reference_id in (("rival", ref), ("acme", new_reference_id())):
        with pytest.raises(NotFound):
            ledger.store.forget(plugin, reference_id)
    assert ledger.store.result_of(ref) is not None


def test_a_chain_is_forgotten_with_its_steps(ledger):
    parent = ledger.accepted(pins="{}")
    step = new_reference_id()
    ledger.advance(parent, NewStep(step, "hook", 1, 1_000, False, b"\x01", 1))
    step_token = ledger.token()
    ledger.store.claim([step], step_token)
    ledger.store.cancel(parent)
    with pytest.raises(Conflict):  # the step is still being sent
        ledger.store.forget("acme", parent)
    assert ledger.store.payload_of(parent) is not None
    ledger.store.settle([ledger.settlement(step, step_token, state=State.DELIVERED, raw=b"raw")])
    ledger.store.forget("acme", parent)
    assert ledger.store.payload_of(parent) is None
    assert ledger.store.payload_of(step) is None
    assert ledger.store.result_of(step) is None
    assert ledger.store.find(step).forgotten_at_ms is not None
    assert bytes_of(ledger.client) == (0, 0)


def test_a_step_keeps_its_answer_while_its_chain_needs_it(redis_client):
    redis_client.sadd(KEYS.plugins(), "acme")
    ledger = Ledger(redis_client)
    parent = ledger.accepted(pins="{}")
    step = new_reference_id()
    ledger.advance(parent, NewStep(step, "hook", 1, 1_000, False, b"\x01", 1))
    step_token = ledger.token()
    ledger.store.claim([step], step_token)
    ledger.store.settle([ledger.settlement(step, step_token, state=State.DELIVERED, raw=b"raw")])
    with pytest.raises(Conflict):
        ledger.store.forget("acme", step)
    bounded = Ledger(redis_client, replace(LIMITS, max_kept_bytes_per_plugin=1))
    assert bounded.store.drop_contents(limit=10)[0] == 1
    assert has_contents(ledger, step) == (False, False)
    assert redis_client.get(KEYS.raw(step)) == b"raw"
    ledger.store.cancel(parent)
    ledger.store.forget("acme", step)
    assert redis_client.get(KEYS.raw(step)) is None


class NoQueue:
    """A publisher that gets nothing."""

    @staticmethod
    def publish_ready(ready):
        assert ready == ()


@pytest.mark.parametrize("records", [RECORDS - 1, RECORDS, RECORDS + 1, 6 * RECORDS])
def test_one_sweep_forgets_whatever_is_old_in_bounded_pieces(valkey, monkeypatch, records):
    monkeypatch.setattr(sweeper, "PRUNING_S", BUSY_S)  # in the usual time a busy machine would delete fewer
    with valkey.client() as client:
        ledger = Ledger(client, replace(LIMITS, max_pending=10_000))
        for start in range(0, records, 100):
            count = min(100, records - start)
            ledger.accept([ledger.new(refusal=Outcome.REQUEST_REJECTED) for _ in range(count)])
            client.delete(*client.keys("*refusals*"))
        for ref in client.zrange(KEYS.expiry(), 0, -1):
            client.zadd(KEYS.expiry(), {ref: 1})
        pieces = []
        prune = ledger.store.prune
        ledger.store.prune = lambda *, limit: pieces.append(limit) or prune(limit=limit)
        Sweeper(
            ledger.store, NoQueue(), Partitions(client, SINGLE), send_due=int, forget_due=int, workers_alive=lambda: 1
        ).sweep()
        assert client.keys("relay:{0}:inv:*") == []
    assert pieces == [RECORDS] * (records // RECORDS + 1)


def test_a_sweep_leaves_the_rest_of_much_that_is_old_for_the_next_one():
    class Endless:
        pieces = 0

        def sweep(self, *_args, **_limits):
            return ()

        def ask(self, _ask):
            return ()

        def expire(self, *, limit):
            return 0, False, ()

        def drop_contents(self, *, limit):
            return 0, False

        def prune(self, *, limit):
            self.pieces += 1
            return limit

    store = Endless()
    began = time.monotonic()
    Sweeper(store, NoQueue(), store, send_due=int, forget_due=int, workers_alive=lambda: 1).sweep()
    assert PRUNING_S <= time.monotonic() - began < PRUNING_S + 20
    assert store.pieces > 1


def bytes_of(client, plugin="acme"):
    found = client.hgetall(KEYS.plugin_bytes(plugin))
    return int(found.get(b"pending", 0)), int(found.get(b"kept", 0))


def has_contents(ledger, ref):
    return ledger.store.payload_of(ref) is not None, ledger.store.result_of(ref) is not None


def test_bytes_of_a_plugin_go_from_pending_to_kept_and_away(redis_client):
    ledger = Ledger(redis_client)
    refs = [ledger.accepted(request_bytes=100) for _ in range(4)]
    assert bytes_of(redis_client) == (400, 0)
    token = ledger.token()
    ledger.store.claim(refs[:3], token)
    ledger.store.settle([ledger.settlement(ref, token) for ref in refs[:3]])
    pending, kept = bytes_of(redis_client)
    assert pending == 100
    assert kept > 300
    for _ in range(2):
        ledger.store.forget("acme", refs[0])
        assert bytes_of(redis_client) == (100, 2 * kept // 3)
    redis_client.zadd(KEYS.expiry(), dict.fromkeys(refs[:3], 1))
    assert ledger.store.prune(limit=10) == 3
    assert bytes_of(redis_client) == (100, 0)


def test_a_job_whose_end_was_stopped_half_way_is_not_pruned(redis_client):
    harness = ReplayHarness(Ledger(redis_client))
    harness.failed(1)
    job = harness.start()
    redis_client.zadd(KEYS.expiry(), {f"replay-{job.replay_id}": 1})  # what the end writes first
    harness.ledger.store.prune(limit=10)
    assert harness.job(job).state is ReplayState.RUNNING


def test_the_oldest_contents_of_a_plugin_go_first_and_their_records_stay(redis_client):
    redis_client.sadd(KEYS.plugins(), "acme")
    ledger = Ledger(redis_client)
    waiting = ledger.accepted()  # the oldest call is not final, so its contents are kept
    refs = []
    for _ in range(6):
        refs.append(settled(ledger))
        time.sleep(0.002)
    each = bytes_of(redis_client)[1] // 6
    before = [ledger.store.find(ref) for ref in refs]
    bounded = Ledger(redis_client, replace(LIMITS, max_kept_bytes_per_plugin=2 * each))
    dropped = 0
    for _ in range(10):
        dropped += bounded.store.drop_contents(limit=2)[0]
    assert dropped == 4
    assert [has_contents(bounded, ref) for ref in refs] == [(False, False)] * 4 + [(True, True)] * 2
    assert [bounded.store.find(ref) for ref in refs] == before
    assert bounded.store.payload_of(waiting) is not None
    assert bytes_of(redis_client)[1] == 2 * each
    assert bounded.store.drop_contents(limit=2)[0] == 0


@pytest.mark.parametrize("limit", [2, 5, 9])
@pytest.mark.parametrize("kept_calls", [0, 1, 3, 4])
def test_whether_a_plugin_still_keeps_too_much_is_said(ledger, kept_calls, limit):
    refs = [settled(ledger) for _ in range(4)]
    each = bytes_of(ledger.client)[1] // 4
    runs = []
    while not runs or runs[-1][1]:
        dropped, more = Scripts(ledger.client).run("drop_contents", ["acme", kept_calls * each, limit])
        runs.append((dropped, more))
    assert sum(dropped for dropped, _ in runs) == 4 - kept_calls
    assert len(runs) <= 1 + (4 - kept_calls) // limit + (limit == 2)
    assert runs[-1][1] == b""
    assert [each for _, each in runs[:-1]] == [b"1"] * (len(runs) - 1)
    assert sum(has_contents(ledger, ref) == (True, True) for ref in refs) == kept_calls


def test_one_sweep_gets_past_calls_that_wait_however_many_there_are(redis_client, monkeypatch):
    monkeypatch.setattr(sweeper, "RECORDS", 2)  # a script examines four times as many
    monkeypatch.setattr(sweeper, "DROPPING_S", 60 * BUSY_S)
    redis_client.sadd(KEYS.plugins(), "acme")
    ledger = Ledger(redis_client, replace(LIMITS, max_kept_bytes_per_plugin=1))
    waiting = [ledger.accepted() for _ in range(40)]
    time.sleep(0.002)
    refs = [settled(ledger) for _ in range(5)]
    late = ledger.accepted()
    Sweeper(
        ledger.store, NoQueue(), Partitions(redis_client, SINGLE), send_due=int, forget_due=int, workers_alive=lambda: 1
    ).sweep()
    assert {has_contents(ledger, ref) for ref in refs} == {(False, False)}
    assert all(ledger.store.payload_of(ref) is not None for ref in (*waiting, late))
    assert bytes_of(redis_client)[1] == 0


def test_each_plugin_that_keeps_too_much_loses_its_oldest_contents_at_once_and_no_other_does(redis_client):
    plugins = ("acme", "beta", "gamma", "small")
    redis_client.sadd(KEYS.plugins(), *plugins)
    ledger, refs = Ledger(redis_client), {}
    for plugin in plugins:
        redis_client.hset(KEYS.webhooks(plugin), "hook", 1)
        refs[plugin] = []
        for _ in range(1 if plugin == "small" else 2):
            ref, token = ledger.claimed(plugin=plugin)
            ledger.store.settle([ledger.settlement(ref, token, result=b"\x01result")])
            refs[plugin].append(ref)
            time.sleep(0.002)
    kept = int(redis_client.hget(KEYS.plugin_bytes("small"), "kept"))
    bounded = Ledger(redis_client, replace(LIMITS, max_kept_bytes_per_plugin=kept))
    assert bounded.store.drop_contents(limit=10)[0] == 3
    found = {plugin: [has_contents(ledger, ref) for ref in made] for plugin, made in refs.items()}
    assert found == {plugin: [(plugin == "small",) * 2, (True, True)][: len(refs[plugin])] for plugin in plugins}


def test_what_ends_after_it_was_looked_at_is_found_in_the_next_round(redis_client):
    redis_client.sadd(KEYS.plugins(), "acme")
    ledger = Ledger(redis_client, replace(LIMITS, max_kept_bytes_per_plugin=1))
    late, token = ledger.claimed()
    time.sleep(0.002)
    settled(ledger)
    assert ledger.store.drop_contents(limit=10)[0] == 1
    ledger.store.settle([ledger.settlement(late, token)])
    assert sum(ledger.store.drop_contents(limit=10)[0] for _ in range(3)) == 1
    assert has_contents(ledger, late) == (False, False)
    assert bytes_of(redis_client) == (0, 0)


def test_many_that_were_accepted_in_the_same_moment_all_lose_their_contents(redis_client):
    redis_client.sadd(KEYS.plugins(), "acme")
    ledger = Ledger(redis_client, replace(LIMITS, max_kept_bytes_per_plugin=1))
    refs = [answer.reference_id for answer in ledger.accept([ledger.new() for _ in range(20)])]
    token = ledger.token()
    ledger.store.claim(refs, token)
    ledger.store.settle([ledger.settlement(ref, token) for ref in refs])
    for _ in range(30):
        ledger.store.drop_contents(limit=3)
    assert {has_contents(ledger, ref) for ref in refs} == {(False, False)}
    assert bytes_of(redis_client) == (0, 0)


def test_what_one_plugin_keeps_costs_no_other_its_contents(redis_client):
    ledger = Ledger(redis_client, replace(LIMITS, max_kept_bytes_per_plugin=150))
    redis_client.hset(KEYS.webhooks("other"), "hook", 1)
    redis_client.sadd(KEYS.plugins(), "acme", "other")
    refs = [settled(ledger) for _ in range(5)]
    theirs, token = ledger.claimed(plugin="other")
    ledger.store.settle([ledger.settlement(theirs, token)])
    for _ in range(5):
        ledger.store.drop_contents(limit=10)
    assert has_contents(ledger, theirs) == (True, True)
    assert has_contents(ledger, refs[0]) == (False, False)


OWN_RETENTIONS = replace(
    LIMITS, retention_ms=10 * DAY_MS, failed_retention_ms=20 * DAY_MS, rejected_retention_ms=40 * DAY_MS
)


def ended(ledger, *, state, outcome, status, error):
    ref, token = ledger.claimed()
    ledger.store.settle(
        [ledger.settlement(ref, token, state=state, outcome=outcome, status=status, error=error, result=b"")]
    )
    return ref


def cancelled(ledger):
    ref = ledger.accepted()
    ledger.store.cancel(ref)
    return ref


def interrupted(ledger):
    ref, _ = ledger.claimed()
    ledger.lose_lease(ref)
    ledger.store.claim([ref], ledger.token())
    return ref


def expired(ledger):
    ref = ledger.accepted()
    ledger.grow_old(ref)
    return ref


#: How calls may end, and which retention they have then.
ENDINGS = {
    "good": (
        lambda ledger: ended(ledger, state=State.DELIVERED, outcome=Outcome.ANSWERED, status=200, error=False),
        "retention_ms",
    ),
    "answered with an error": (
        lambda ledger: ended(ledger, state=State.DELIVERED, outcome=Outcome.ANSWERED, status=500, error=True),
        "failed_retention_ms",
    ),
    "unreachable": (
        lambda ledger: ended(ledger, state=State.UNREACHABLE, outcome=Outcome.CONNECT_FAILED, status=0, error=True),
        "failed_retention_ms",
    ),
    "rejected by a worker": (
        lambda ledger: ended(ledger, state=State.REJECTED, outcome=Outcome.REQUEST_REJECTED, status=None, error=None),
        "rejected_retention_ms",
    ),
    "rejected at the door": (
        lambda ledger: ledger.accepted(refusal=Outcome.REQUEST_REJECTED),
        "rejected_retention_ms",
    ),
    "cancelled": (cancelled, "rejected_retention_ms"),
    "interrupted": (interrupted, "failed_retention_ms"),
    "too old": (expired, "failed_retention_ms"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_end_is_kept_for_its_own_time(redis_client, ending):
    ledger = Ledger(redis_client, OWN_RETENTIONS)
    end, retention = ENDINGS[ending]
    record = ledger.store.find(end(ledger))
    assert record.state.final
    kept_ms = getattr(OWN_RETENTIONS, retention)
    assert record.expires_at_ms - record.finished_at_ms == kept_ms
    assert redis_client.zscore(KEYS.expiry(), record.reference_id) == record.expires_at_ms
