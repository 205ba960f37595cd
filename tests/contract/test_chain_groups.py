"""Chains that one script advances together end up as if each had been advanced alone, in whatever order."""

from __future__ import annotations

from random import Random

import pytest

from relay.domain.reference_id import new_reference_id
from relay.store.counts.notes import amounts_of
from relay.store.ledger.invocations import CHAIN_STEPS
from relay.store.ledger.transitions import Advance, NewStep, NextStep
from tests.contract.clocked import Clocked
from tests.contract.ledger import Ledger
from tests.contract.snapshots import keep, put_back
from tests.depth import examples
from tests.store_keys import KEYS


def new_step(**changes):
    fields = {"reference_id": new_reference_id(), "webhook_id": "hook", "revision": 1, "timeout_ms": 20_000}
    return NewStep(**fields | {"repeatable": True, "payload": b"\x01step", "request_bytes": 10} | changes)


class World:
    """Chains in every situation that an advance can meet, with the step that is to be made for each."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.steps = {}
        for situation in SITUATIONS:
            situation(self)

    def claim(self, ref):
        token = self.ledger.token()
        assert self.ledger.store.claim([ref], token).granted
        return token

    def chain(self):
        ref = self.ledger.accepted(pins='{"hook":1}', repeatable=True, timeout_ms=120_000)
        return ref, self.claim(ref)

    def nested(self, made=0):
        """Return the root of two claimed chains within it, and these with their tokens."""
        root, token = self.chain()
        news = [new_step(pins='{"hook":1}', timeout_ms=60_000) for _ in range(2)]
        self.ledger.store.advance([NextStep(root, token, 0, news)])
        self.ledger.client.hset(KEYS.record(root), "made", made or len(news))
        return root, [(new.reference_id, self.claim(new.reference_id)) for new in news]

    def wants(self, name, ref, token, verdict, *, step=0, calls=1):
        self.steps[name] = NextStep(ref, token, step, [new_step() for _ in range(calls)], b"hidden"), verdict


def fresh(world):
    for calls in (0, 1, 3):
        world.wants(f"fresh, {calls} calls", *world.chain(), Advance.ADVANCED, calls=calls)


def of_others(world):
    world.wants("of another worker", world.chain()[0], "stranger", Advance.LATE)
    world.wants("unknown", new_reference_id("acme"), "token", Advance.LATE)


def advanced_before(world):
    ref, token = world.chain()
    world.wants("the reply was lost", ref, token, Advance.ADVANCED)
    world.ledger.store.advance([world.steps["the reply was lost"][0]])


def decided_too_late(world):
    ref, token = world.chain()
    step = new_step()
    world.ledger.store.advance([NextStep(ref, token, 0, [step])])
    world.ledger.store.settle([world.ledger.settlement(step.reference_id, world.claim(step.reference_id))])
    world.wants("the step has ended", ref, world.claim(ref), Advance.ADVANCED)


def past_its_deadline(world):
    ref, token = world.chain()
    world.ledger.client.hset(KEYS.record(ref), "deadline", 1)
    world.wants("past its deadline", ref, token, Advance.ENDED)


def left_over(world):
    root, ((one, token), (other, other_token)) = world.nested()
    world.ledger.store.cancel(root)
    world.wants("left over", one, token, Advance.ENDED)
    world.wants("left over too", other, other_token, Advance.ENDED)


def of_one_root(world):
    _, nested = world.nested()
    for number, (ref, token) in enumerate(nested):
        world.wants(f"within a chain, {number}", ref, token, Advance.ADVANCED, calls=2)


def too_many(world):
    _, ((one, token), _) = world.nested(made=CHAIN_STEPS)
    world.wants("too many", one, token, Advance.TOO_MANY)


SITUATIONS = (fresh, of_others, advanced_before, decided_too_late, past_its_deadline, left_over, of_one_root, too_many)


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
        order = random.sample(list(world.steps.values()), random.randint(2, len(world.steps)))
        put_back(clock.client, kept)
        alone = [store.advance([step]) for step, _ in order]
        ends = outcome_of(clock)
        put_back(clock.client, kept)
        together = store.advance([step for step, _ in order])
        assert outcome_of(clock) == ends
        assert together.verdicts == tuple(verdict for _, verdict in order)
        assert together.verdicts == tuple(verdict for each in alone for verdict in each.verdicts)
        assert together.ready == tuple(pair for each in alone for pair in each.ready)
        assert list(together.found) == store.read([ref for ref, _ in together.ready])


def test_of_chains_within_one_only_as_many_make_a_step_as_it_may_make(world):
    world, clock, _ = world
    for left in range(5):
        root, nested = world.nested(made=CHAIN_STEPS - left)
        steps = [NextStep(ref, token, 0, [new_step(), new_step()]) for ref, token in nested]
        expected = [Advance.ADVANCED] * (left // 2) + [Advance.TOO_MANY] * 2
        assert list(clock.store.advance(steps).verdicts) == expected[:2]
        assert int(clock.client.hget(KEYS.record(root), "made")) == CHAIN_STEPS - left % 2 - max(0, left - 4)
