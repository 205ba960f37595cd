"""Partitions that move from one primary to another while calls run: none is lost, doubled, or counted wrongly."""

from __future__ import annotations

import pytest

from relay.store.key_names import SHARED_ROOT
from relay.store.keyspace import Keyspace
from tests.cluster.load import PLUGINS, Load
from tests.cluster.servers import cluster
from tests.cluster.slots import MIGRATE_MS, halfway, move_by_keys, move_whole, slot_of
from tests.conftest import wait_until
from tests.integration.worker_harness import worker_harness

KEYS = Keyspace(16)
ROOTS = [*sorted({KEYS.root(plugin) for plugin in PLUGINS}), SHARED_ROOT]
CALLS = 30  # accepted after each move
FAILOVER_S = 60


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
    with Load(harness) as load:
        load.wait_for(100)
        for slot in map(slot_of, ROOTS):
            target = (servers.owner(slot) + 1) % servers.primaries
            move(servers, slot, target, lambda: load.wait_for_tries(4 * len(PLUGINS)))
            load.wait_for(CALLS)
        ends = load.check()
    assert ends["delivered"] == sum(ends.values())


def replaced(servers, primary):
    """Kill a primary, wait until its replica has taken its place, and start it again; returns who has the place."""
    pair = primary % servers.primaries
    other = 2 * pair + servers.primaries - primary
    servers.kill(primary)
    wait_until(lambda: servers.is_primary(other), FAILOVER_S)
    servers.restart(primary)
    wait_until(servers.is_whole, FAILOVER_S)
    return other


@pytest.mark.parametrize("dies", ["giver", "taker"])
def test_who_dies_with_half_of_a_slot_moved_key_by_key_is_replaced_and_nothing_is_lost(servers, harness, dies):
    """Whoever takes its place knows that the slot is being moved: no script takes half of it for all, meanwhile or ever."""
    with Load(harness) as load:
        load.wait_for(100)
        slot = slot_of(KEYS.root(PLUGINS[0]))
        source = servers.owner(slot)
        target = servers.primary_of((source + 1) % servers.primaries)
        with halfway(servers, slot, target) as (giver, _):
            keys = giver.execute_command("CLUSTER GETKEYSINSLOT", slot, 10_000)
            port = servers.servers[target].port
            half = keys[: len(keys) // 2]
            giver.execute_command("MIGRATE", "127.0.0.1", port, "", 0, MIGRATE_MS, "KEYS", *half)
        if dies == "giver":
            source = replaced(servers, source)
        else:
            target = replaced(servers, target)
        load.wait_for_tries(4 * len(PLUGINS))
        move_by_keys(servers, slot, target, lambda: load.wait_for_tries(len(PLUGINS)))
        wait_until(servers.is_whole, FAILOVER_S)
        load.wait_for_each(5)
        ends = load.check()
    assert ends["delivered"] > 0.8 * sum(ends.values())


@pytest.mark.parametrize("dies", ["giver", "taker"])
def test_who_dies_while_a_slot_is_moved_whole_leaves_it_whole_in_one_place(servers, harness, dies):
    with Load(harness) as load:
        load.wait_for(100)
        slot = slot_of(KEYS.root(PLUGINS[0]))
        source = servers.owner(slot)
        target = servers.primary_of((source + 1) % servers.primaries)
        with servers.node(source) as client:
            client.execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", servers.id_of(target))
        replaced(servers, source if dies == "giver" else target)
        wait_until(lambda: servers.owner(slot) >= 0, FAILOVER_S)
        load.wait_for_each(5)
        ends = load.check()
    assert ends["delivered"] > 0.8 * sum(ends.values())
