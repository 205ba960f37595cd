"""Scripts and workers that meet a damaged call go on with the others."""

from __future__ import annotations

import pytest

from relay.domain.invocation import State
from relay.queue import LANES
from relay.store.ledger.callbacks import Callbacks
from tests.contract.damaging import damages_of
from tests.contract.ledger import Ledger
from tests.contract.snapshots import keep, put_back
from tests.store_keys import KEYS

#: What is damaged: the record of a call, or what lies beside it.
PARTS = {"record": KEYS.record, "payload": KEYS.payload}


class Scene:
    """Three calls in one state, of which the second is damaged; ``act`` goes on with all of them."""

    def __init__(self, client):
        self.ledger = Ledger(client)
        self.refs = self.make()
        self.kept = keep(client)

    def make(self):
        return self.ledger.accepted_many(3, callback="told")

    def fate(self, ref):
        """Return the state that a call has now; None if its record is gone."""
        found = self.ledger.listing.records([ref.encode()])
        return found[0].state if found else None


class Swept(Scene):
    """Alarms of waiting calls ring."""

    def act(self):
        for ref in self.refs:
            self.ledger.ring(ref)
        self.ledger.client.delete("relay:{0}:waiting:bulk")
        return [ref for ref, _ in self.ledger.store.sweep(limit=100)]


class Taken(Scene):
    """A worker takes and claims what waits, and settles what it is granted."""

    def act(self):
        store = self.ledger.store
        self.ledger.client.rpush("relay:{0}:waiting:bulk", *self.refs)
        taken = store.waiting.take(0, ["bulk"], most=10)
        token = self.ledger.token()
        granted = store.claim([record.reference_id for record in taken.records], token).granted
        settled = store.settle([self.ledger.settlement(ref, token) for ref in self.refs if ref in granted])
        assert all(settled.verdicts)
        assert not (set(self.refs) - granted) or all(self.fate(ref) is State.DELIVERED for ref in granted)
        return granted


class ClaimedTogether(Scene):
    """A worker has read the calls before one was damaged, and claims all three."""

    def act(self):
        return self.ledger.store.claim(self.refs, self.ledger.token()).granted


class SettledTogether(Scene):
    """A worker settles calls, one of which was damaged while it was sent."""

    def make(self):
        refs = super().make()
        self.token = self.ledger.token()
        assert self.ledger.store.claim(refs, self.token).granted == set(refs)
        return refs

    def act(self):
        counted = self.ledger.store.settle([self.ledger.settlement(ref, self.token) for ref in self.refs]).verdicts
        return [ref for ref, counts in zip(self.refs, counted, strict=True) if counts]


class Lost(Scene):
    """Leases end."""

    def make(self):
        refs = super().make()
        self.ledger.store.claim(refs, self.ledger.token())
        for ref in refs:
            self.ledger.lose_lease(ref)
        return refs

    def act(self):
        return [ref for ref, _ in self.ledger.store.sweep(limit=100)]


class Old(Scene):
    """Calls reach their age."""

    def make(self):
        refs = super().make()
        for ref in refs:
            self.ledger.client.hset(KEYS.record(ref), "endBy", 1)
        self.ledger.look_at_ages()
        return refs

    def act(self):
        self.ledger.store.expire(limit=100)
        return [ref for ref in self.refs if self.fate(ref) is State.UNREACHABLE]


class Ended(Scene):
    """Ended calls have callbacks to be told, then pass their retention."""

    def make(self):
        refs = super().make()
        token = self.ledger.token()
        self.ledger.store.claim(refs, token)
        self.ledger.store.settle([self.ledger.settlement(ref, token) for ref in refs])
        return refs

    def act(self):
        told = {end.reference_id for end in Callbacks(self.ledger.client).take(0, 100)}
        self.ledger.client.zadd(KEYS.expiry(), dict.fromkeys(self.refs, 1))
        self.ledger.store.prune(limit=100)
        return [ref for ref in self.refs if ref in told and self.fate(ref) is None]


class Removed(Scene):
    """The webhook is removed."""

    def act(self):
        self.ledger.client.hset(KEYS.policy("acme", "hook"), "removed", 1)
        self.ledger.client.hdel(KEYS.webhooks("acme"), "hook")
        list(self.ledger.store.revisit("acme", "hook"))
        return [ref for ref in self.refs if self.fate(ref) is State.REJECTED]


class Woken(Scene):
    """Parked calls are woken."""

    def make(self):
        refs = super().make()
        self.ledger.store.claim([], self.ledger.token(), park=refs)
        for ref in refs:
            self.ledger.client.hset(KEYS.record(ref), "readyAt", 1)  # nobody has woken them a moment ago
        return refs

    def act(self):
        return [ref for ref, _ in self.ledger.store.parked_calls.wake("acme", "hook", 3, ["bulk"])]


SCENES = (Swept, Taken, ClaimedTogether, SettledTogether, Lost, Old, Ended, Removed, Woken)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("scene", SCENES)
def test_a_damaged_call_holds_up_no_other(valkey, scene, part):
    with valkey.client() as client:
        made = scene(client)
        key = PARTS[part](made.refs[1]).encode()
        others = {made.refs[0], made.refs[2]}
        wrong = {}
        for damage in [*damages_of(client, part, key)]:
            put_back(client, made.kept)
            damage.do(client)
            try:
                done = set(made.act())
            except Exception as error:  # noqa: BLE001 - all of them are reported together
                wrong[str(damage)] = repr(error.__cause__ or error)
            else:
                if not others <= done:
                    wrong[str(damage)] = f"done for {len(done & others)} of the others"
        put_back(client, made.kept)
        assert others <= set(made.act()), "without any damage"
        assert wrong == {}


@pytest.mark.parametrize("way", ["to send", "read as full", "to park"])
def test_a_call_whose_lane_is_damaged_is_parked_where_a_sweep_finds_it(ledger, way):
    ledger.limit(concurrency=1)
    ledger.claimed()
    ref = ledger.accepted()
    ledger.client.hset(KEYS.record(ref), "lane", "damaged")
    named = {"to send": ([ref], [], []), "read as full": ([], [ref], []), "to park": ([], [], [ref])}
    send, full, park = named[way]
    assert ledger.store.claim(send, ledger.token(), full=full, park=park).parked == {ref}
    assert ledger.client.zscore(KEYS.due_queued(LANES[-1]), ref) is not None
