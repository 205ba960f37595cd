"""What is kept and for how long: records and their contents apart, and contents that are destroyed on request."""

import time
from dataclasses import replace

import pytest

from relay.errors import Conflict, NotFound
from relay.invocation import Outcome, State
from relay.reference_id import new_reference_id
from relay.store import keyspace
from relay.store.invocations import NewStep
from relay.sweeper import PRUNING_S, RECORDS, Sweeper
from tests.contract.ledger import DAY_MS, LIMITS, Ledger


def settled(ledger):
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(ref, token)])
    return ref


def test_contents_may_be_kept_for_less_long_than_their_records(redis_client):
    ledger = Ledger(redis_client, replace(LIMITS, contents_retention_ms=2 * DAY_MS))
    ref = settled(ledger)
    for key in (keyspace.payload(ref), keyspace.result(ref)):
        assert DAY_MS < redis_client.pttl(key) <= 2 * DAY_MS
    record = ledger.store.find(ref)
    assert record.expires_at_ms - record.finished_at_ms == LIMITS.retention_ms


def test_contents_are_kept_as_long_as_their_record_unless_said_otherwise(ledger):
    ref = settled(ledger)
    for key in (keyspace.payload(ref), keyspace.result(ref)):
        assert LIMITS.retention_ms - DAY_MS < ledger.client.pttl(key) <= LIMITS.retention_ms


def test_contents_are_never_kept_longer_than_their_record(redis_client):
    ledger = Ledger(redis_client, replace(LIMITS, contents_retention_ms=400 * DAY_MS))
    assert redis_client.pttl(keyspace.payload(settled(ledger))) <= LIMITS.retention_ms


def test_forgetting_destroys_the_contents_and_keeps_the_record(ledger):
    ref = settled(ledger)
    before = ledger.store.find(ref)
    after = ledger.store.forget("acme", ref)
    assert after.forgotten_at_ms is not None
    assert replace(after, forgotten_at_ms=None) == before
    assert ledger.store.payload_of(ref) is None
    assert ledger.store.result_of(ref) is None
    assert ledger.store.forget("acme", ref) == after


def test_what_is_not_final_cannot_be_forgotten(ledger):
    ref = ledger.accepted()
    with pytest.raises(Conflict):
        ledger.store.forget("acme", ref)
    assert ledger.store.payload_of(ref) is not None


def test_only_its_own_plugin_can_forget_an_invocation(ledger):
    ref = settled(ledger)
    for plugin, reference_id in (("rival", ref), ("acme", new_reference_id())):
        with pytest.raises(NotFound):
            ledger.store.forget(plugin, reference_id)
    assert ledger.store.result_of(ref) is not None


def test_a_chain_is_forgotten_with_its_steps(ledger):
    parent, token = ledger.claimed(pins="{}")
    step = new_reference_id()
    ledger.store.advance(parent, token, 0, [NewStep(step, "hook", 1, 1_000, False, b"\x01", 1)])
    step_token, token = ledger.token(), ledger.token()
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


class NoQueue:
    """A broker with nothing on its lanes."""

    @staticmethod
    def depths():
        return {"interactive": 0, "bulk": 0, "replay": 0}


@pytest.mark.parametrize("records", [RECORDS - 1, RECORDS, RECORDS + 1, 6 * RECORDS])
def test_one_sweep_forgets_whatever_is_old_in_bounded_pieces(valkey, records):
    with valkey.client() as client:
        ledger = Ledger(client, replace(LIMITS, max_pending=10_000))
        for start in range(0, records, 100):
            count = min(100, records - start)
            ledger.accept([ledger.new(refusal=Outcome.REQUEST_REJECTED) for _ in range(count)])
            client.delete(*client.keys("*refusals*"))
        for ref in client.zrange(keyspace.expiry(), 0, -1):
            client.zadd(keyspace.expiry(), {ref: 1})
        pieces = []
        prune = ledger.store.prune
        ledger.store.prune = lambda *, limit: pieces.append(limit) or prune(limit=limit)
        Sweeper(ledger.store, NoQueue(), "w1", run_here=pytest.fail).sweep()
        assert client.keys("relay:inv:*") == []
    assert pieces == [RECORDS] * (records // RECORDS + 1)


def test_a_sweep_leaves_the_rest_of_much_that_is_old_for_the_next_one():
    class Endless:
        pieces = 0

        def sweep(self, *_args, **_limits):
            return ()

        def prune(self, *, limit):
            self.pieces += 1
            return limit

    store = Endless()
    began = time.monotonic()
    Sweeper(store, NoQueue(), "w1", run_here=pytest.fail).sweep()
    assert PRUNING_S <= time.monotonic() - began < PRUNING_S + 1
    assert store.pieces > 1
