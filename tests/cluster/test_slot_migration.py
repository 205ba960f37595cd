"""Partitions that move from one primary to another while calls run: none is lost, doubled, or counted wrongly."""

from __future__ import annotations

import pytest

from relay.store.key_names import SHARED_ROOT
from relay.store.keyspace import Keyspace
from tests.cluster.load import PLUGINS, Load
from tests.cluster.servers import cluster
from tests.cluster.slots import move_by_keys, move_whole, slot_of
from tests.integration.worker_harness import worker_harness

KEYS = Keyspace(16)
ROOTS = [*sorted({KEYS.root(plugin) for plugin in PLUGINS}), SHARED_ROOT]
CALLS = 30  # accepted after each move


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
