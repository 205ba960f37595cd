"""Calls of several partitions, which are claimed and counted together as those of each partition are alone."""

from __future__ import annotations

import time
from itertools import chain, combinations

import pytest

from relay.domain.reference_id import new_reference_id
from relay.store.counts.backlog import Backlog
from relay.store.counts.notes import HOUR_MS
from relay.store.keys.keyspace import Keyspace
from relay.store.ledger.acceptance import NewInvocation
from relay.store.ledger.invocations import InvocationStore
from tests.contract.ledger import LIMITS

KEYS = Keyspace(2)
ROLES = ("take", "full", "park")
#: What a partition has of the claim.
PARTS = tuple(chain.from_iterable(combinations(ROLES, count) for count in range(1, len(ROLES) + 1)))


@pytest.fixture
def store(redis_client):
    return InvocationStore(redis_client, LIMITS, lease_margin_ms=10_000, keys=KEYS)


def plugins_of(partition, count):
    names = (f"plugin-{number}" for number in range(100))
    return [name for name in names if KEYS.partition_of(name) == partition][:count]


def waiting_calls(client, store, plugin, roles):
    """Accept a call for each role, of a webhook with room for one more than runs; return their ids by role."""
    client.hset(KEYS.of_plugin("webhooks", plugin), "hook", 1)
    client.hset(KEYS.of_plugin("policy", plugin, webhook="hook"), "concurrency", 2)
    news = [NewInvocation(new_reference_id(plugin), plugin, "hook", 1, "bulk", 20_000) for _ in range(1 + len(roles))]
    running, *refs = [answer.reference_id for answer in store.accept(news, ())[0]]
    assert store.claim([running], f"before-{plugin}").granted == {running}
    return dict(zip(roles, refs, strict=True))


def claimed(store, token, groups):
    """Claim all of these together; return what became of each, by partition and role."""
    asked = {role: [refs[role] for refs in groups if role in refs] for role in ROLES}
    said = store.claim(asked["take"], token, full=asked["full"], park=asked["park"])
    ready = {ref for ref, _ in said.ready}
    names = {ref: (store.keys.partition_of_ref(ref), role) for refs in groups for role, ref in refs.items()}
    return {names[ref]: (ref in said.granted, ref in said.parked, ref in ready) for ref in names}


@pytest.mark.parametrize("first", PARTS, ids="+".join)
def test_a_claim_in_two_partitions_is_what_claims_in_each_are(redis_client, store, first):
    plugins = zip(plugins_of(0, 2 * len(PARTS)), plugins_of(1, 2 * len(PARTS)), strict=True)
    for second in PARTS:
        together, alone = (
            [
                waiting_calls(redis_client, store, plugin, roles)
                for plugin, roles in zip(pair, (first, second), strict=True)
            ]
            for pair in (next(plugins), next(plugins))
        )
        expected = claimed(store, "t1", alone[:1]) | claimed(store, "t2", alone[1:])
        assert claimed(store, "t3", together) == expected, second


@pytest.mark.parametrize("older", [0, 1])
def test_the_oldest_call_of_any_partition_is_a_lane_s_oldest(redis_client, store, older):
    for partition in range(2):
        (plugin,) = plugins_of(partition, 1)
        redis_client.hset(KEYS.of_plugin("webhooks", plugin), "hook", 1)
        new = NewInvocation(new_reference_id(plugin), plugin, "hook", 1, "bulk", 20_000)
        (answer,) = store.accept([new], ())[0]
        if partition == older:
            redis_client.hincrby(KEYS.of_ref("record", answer.reference_id), "createdAt", -HOUR_MS)
    (found,) = Backlog(redis_client, KEYS).of(["bulk"])
    assert (found.pending, found.oldest_ms >= HOUR_MS) == (2, True)


@pytest.mark.parametrize("old", [(0, 0), (2, 0), (0, 2), (1, 1), (2, 2)])
def test_whether_more_is_waiting_to_be_ended_is_said_for_every_partition(redis_client, store, old):
    for partition, count in enumerate(old):
        (plugin,) = plugins_of(partition, 1)
        redis_client.hset(KEYS.of_plugin("webhooks", plugin), "hook", 1)
        news = [
            NewInvocation(new_reference_id(plugin), plugin, "hook", 1, "bulk", 20_000, max_age_ms=1)
            for _ in range(count)
        ]
        store.accept(news, ()) if news else None
    time.sleep(0.005)
    ended, more, _ = store.expire(limit=1)
    assert (ended, more) == (sum(map(bool, old)), max(old) > 1)
