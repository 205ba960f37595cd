"""Partitions move from one primary to another while calls run: no call is lost, doubled, or counted wrongly."""

from __future__ import annotations

import pytest

from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import SHARED_ROOT
from tests.cluster.load import PLUGINS, Load
from tests.cluster.servers import cluster, wait_for_servers
from tests.cluster.slots import MIGRATE_MS, halfway, move_by_keys, move_whole, slot_of
from tests.integration.worker_harness import worker_harness

KEYS = Keyspace(16)
ROOTS = [*sorted({KEYS.root(plugin) for plugin in PLUGINS}), SHARED_ROOT]
FIRST = 100  # how many calls are accepted first
CALLS = 30  # how many are accepted after each move


@pytest.fixture(scope="module")
def servers():
    with cluster(3, replicas=1) as running:
        yield running


@pytest.fixture
def harness(servers, tmp_path_factory):
    settings = {"RELAY_STORE_URL": servers.url, "RELAY_STORE_REPLICAS": "1", "RELAY_LEASE_MARGIN": "2"}
    with worker_harness(tmp_path_factory, **settings) as harness:
        harness.runtime.client.flushall(target_nodes="primaries")
        harness.start_worker("bulk")
        yield harness


@pytest.mark.parametrize("move", [move_whole, move_by_keys])
def test_partitions_move_while_calls_run_and_nothing_is_lost_doubled_or_counted_wrongly(servers, harness, move):
    with servers.without_takeovers(), Load(harness) as load:
        load.wait_for(FIRST)
        for slot in map(slot_of, ROOTS):
            target = servers.primary_of((servers.owner(slot) + 1) % servers.primaries)
            move(servers, slot, target, lambda: load.wait_for_tries(4 * len(PLUGINS)))
            load.wait_for(CALLS)
        ends = load.check()
    assert ends["delivered"] == sum(ends.values())


def replaced(servers, primary):
    """Kill a primary, wait until its replica has taken over, and restart it; return the new primary's number."""
    pair = primary % servers.primaries
    other = 2 * pair + servers.primaries - primary
    servers.kill(primary)
    wait_for_servers(lambda: servers.is_primary(other))
    servers.restart(primary)
    wait_for_servers(servers.is_whole)
    return other


def half_moved(servers, slot, source, target):
    """Begin to move a slot key by key, and stop in the middle."""
    with halfway(servers, slot, target) as (giver, _):
        keys = giver.execute_command("CLUSTER GETKEYSINSLOT", slot, 10_000)
        port = servers.servers[target].port
        giver.execute_command("MIGRATE", "127.0.0.1", port, "", 0, MIGRATE_MS, "KEYS", *keys[: len(keys) // 2])


def moved_whole(servers, slot, source, target):
    """Begin to move a slot whole."""
    with servers.node(source) as client:
        client.execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", servers.id_of(target))


@pytest.mark.parametrize("begin", [half_moved, moved_whole])
def test_who_dies_while_a_slot_is_moved_is_replaced_and_nothing_is_lost(servers, harness, begin):
    """A server that takes over knows about a move key by key, so no script takes half of a slot for the whole."""
    with Load(harness) as load:
        load.wait_for(FIRST)
        slot = slot_of(KEYS.root(PLUGINS[0]))
        for dies in ("giver", "taker"):
            source = servers.owner(slot)
            target = servers.primary_of((source + 1) % servers.primaries)
            begin(servers, slot, source, target)
            other = replaced(servers, source if dies == "giver" else target)
            load.wait_for_tries(4 * len(PLUGINS))
            if begin is half_moved:  # such a move does not end by itself
                target = target if dies == "giver" else other
                move_by_keys(servers, slot, target, lambda: load.wait_for_tries(len(PLUGINS)))
            wait_for_servers(lambda: servers.owner(slot) >= 0 and servers.is_whole())
            load.wait_for_each(5)
        ends = load.check()
    assert ends["delivered"] > 0.8 * sum(ends.values())
