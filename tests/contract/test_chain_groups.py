"""Chains that one script advances together end up as if each had been advanced alone, in whatever order."""

from __future__ import annotations

from random import Random

import pytest

from relay.domain.reference_id import new_reference_id
from relay.store.counts.notes import amounts_of
from relay.store.ledger.invocations import CHAIN_STEPS
from relay.store.ledger.transitions import ChainEnd, NewStep
from tests.contract.clocked import Clocked
from tests.contract.ledger import Ledger, verdict_on
from tests.contract.snapshots import keep, put_back
from tests.depth import examples
from tests.store_keys import KEYS


def new_step(**changes):
    fields = {"reference_id": new_reference_id(), "webhook_id": "hook", "revision": 1, "timeout_ms": 20_000}
    return NewStep(**fields | {"repeatable": True, "payload": b"\x01step", "request_bytes": 10} | changes)


class World:
    """Chains in every situation that an advance can meet, with what is to be done with each."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.decisions = {}
        for situation in SITUATIONS:
            situation(self)

    def chain(self):
        return self.ledger.accepted(pins='{"hook":1}', repeatable=True, timeout_ms=120_000)

    def nested(self, made=0):
        """Return the root of two chains within it, and these."""
        root = self.chain()
        news = [new_step(pins='{"hook":1}', timeout_ms=60_000) for _ in range(2)]
        self.ledger.advance(root, *news)
        self.ledger.client.hset(KEYS.record(root), "made", made or len(news))
        return root, [new.reference_id for new in news]

    def wants(self, name, ref, verdict, *, step=0, calls=1):
        news = [new_step() for _ in range(calls)]
        self.decisions[name] = self.ledger.next_step(ref, *news, step=step, secrets=b"hidden"), verdict

    def ends(self, name, ref, verdict):
        end = self.ledger.settlement(ref, self.ledger.token(), attempt=None, masked=2, raw=b"raw")
        self.decisions[name] = ChainEnd(self.ledger.client.llen(KEYS.steps(ref)), end), verdict


def fresh(world):
    for calls in (1, 3):
        world.wants(f"fresh, {calls} calls", world.chain(), "granted", calls=calls)


def at_its_end(world):
    world.ends("ends", world.chain(), "granted")
    world.ends("has ended", world.chain(), "skipped")
    world.ledger.store.advance([world.decisions["has ended"][0]])


def not_there(world):
    world.wants("unknown", new_reference_id("acme"), "skipped")


def waiting(world):
    ref = world.chain()
    world.ledger.advance(ref, new_step())
    world.wants("waiting", ref, "skipped", step=1)


def advanced_before(world):
    world.wants("the reply was lost", world.chain(), "granted")
    world.ledger.store.advance([world.decisions["the reply was lost"][0]])


def decided_too_late(world):
    ref = world.chain()
    world.wants("decided too late", ref, "skipped")
    world.ends("ended too late", ref, "skipped")
    step, token = new_step(), world.ledger.token()
    world.ledger.advance(ref, step)
    world.ledger.store.claim([step.reference_id], token)
    world.ledger.store.settle([world.ledger.settlement(step.reference_id, token)])


def past_its_deadline(world):
    ref = world.chain()
    world.ledger.client.hset(KEYS.record(ref), "deadline", 1)
    world.wants("past its deadline", ref, "ended")


def left_over(world):
    root, (one, other) = world.nested()
    world.ledger.client.hset(KEYS.record(root), "state", "cancelled")
    world.wants("left over", one, "ended")
    world.ends("left over too", other, "ended")


def of_one_root(world):
    _, nested = world.nested()
    for number, ref in enumerate(nested):
        world.wants(f"within a chain, {number}", ref, "granted", calls=2)


def too_many(world):
    _, (one, _) = world.nested(made=CHAIN_STEPS)
    world.wants("too many", one, "ended")


SITUATIONS = (
    fresh,
    at_its_end,
    not_there,
    waiting,
    advanced_before,
    decided_too_late,
    past_its_deadline,
    left_over,
    of_one_root,
    too_many,
)


@pytest.fixture
def world(valkey):
    with valkey.client() as client:
        clock = Clocked(client)
        yield World(Ledger(client)), clock, keep(client)


def outcome_of(clock):
    """Return the whole store, with what its notes amount to: a script writes one for each webhook."""
    store = clock.everything()
    amounts = amounts_of(store.pop(KEYS.notes("acme").encode()))
    return store, {where: dict(counts) for where, counts in amounts.items()}


def test_chains_that_are_advanced_together_end_up_as_if_each_were_advanced_alone(world):
    world, clock, kept = world
    store, random = clock.store, Random(7)
    for _ in range(examples(20)):
        order = random.sample(list(world.decisions.values()), random.randint(2, len(world.decisions)))
        put_back(clock.client, kept)
        alone = [store.advance([decision]) for decision, _ in order]
        ends = outcome_of(clock)
        put_back(clock.client, kept)
        together = store.advance([decision for decision, _ in order])
        assert outcome_of(clock) == ends
        for (decision, verdict), one in zip(order, alone, strict=True):
            assert verdict_on(one, decision.reference_id) == verdict, decision
            if sum(each.reference_id == decision.reference_id for each, _ in order) == 1:
                assert verdict_on(together, decision.reference_id) == verdict
        assert together.ready == tuple(pair for each in alone for pair in each.ready)
        assert list(together.found) == store.read([ref for ref, _ in together.ready])


def test_of_chains_within_one_only_as_many_make_a_step_as_it_may_make(world):
    world, clock, _ = world
    for left in range(5):
        root, nested = world.nested(made=CHAIN_STEPS - left)
        advanced = clock.store.advance([world.ledger.next_step(ref, new_step(), new_step()) for ref in nested])
        expected = ["granted"] * (left // 2) + ["ended"] * 2
        assert [verdict_on(advanced, ref) for ref in nested] == expected[:2]
        assert int(clock.client.hget(KEYS.record(root), "made")) == CHAIN_STEPS - left % 2 - max(0, left - 4)
