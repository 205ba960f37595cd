"""Primaries that are killed or frozen while calls run: nothing accepted is lost, nothing unrepeatable is doubled."""

from __future__ import annotations

import pytest

from tests.cluster.load import Load
from tests.cluster.servers import cluster, wait_for_servers
from tests.integration.worker_harness import worker_harness
from tests.timing import wait_until

FAILOVER_S = 60
CALLS = 100  # how many are accepted between two faults


@pytest.fixture(scope="module")
def servers():
    with cluster(3, replicas=1) as servers:
        yield servers


@pytest.fixture
def harness(servers, tmp_path_factory):
    settings = {"RELAY_STORE_URL": servers.url, "RELAY_STORE_REPLICAS": "1", "RELAY_LEASE_MARGIN": "2"}
    with worker_harness(tmp_path_factory, **settings) as harness:
        harness.runtime.client.flushall(target_nodes="primaries")
        harness.start_worker("bulk")
        harness.start_worker("bulk", 2)
        yield harness


def test_killed_and_frozen_primaries_lose_nothing_and_double_nothing(servers, harness):
    with Load(harness) as load:
        load.wait_for(CALLS)
        servers.kill(0)
        wait_for_servers(lambda: servers.is_primary(3))
        servers.restart(0)  # without a replica its partitions accept nothing
        load.wait_for(CALLS)
        servers.freeze(1)
        wait_for_servers(lambda: servers.is_primary(4))
        servers.thaw(1)
        wait_for_servers(lambda: not servers.is_primary(0) and not servers.is_primary(1))
        load.wait_for(CALLS)
        with servers.node(5) as replica:
            replica.execute_command("CLUSTER FAILOVER")
        wait_for_servers(lambda: servers.is_primary(5))
        load.wait_for(CALLS)
        ends = load.check()
    assert ends["delivered"] > 0.8 * sum(ends.values())


def test_a_replica_that_restarts_without_its_tail_does_not_take_over(servers, harness):
    """It lacks what it had confirmed, until it has caught up with a primary that dies just then."""
    with Load(harness) as load:
        load.wait_for(CALLS)
        for pair in range(servers.primaries):
            primary = servers.primary_of(pair)
            replica = 2 * pair + servers.primaries - primary
            load.wait_for_each(5)
            servers.kill(replica)
            servers.lose_tail(replica)
            servers.kill(primary)
            servers.restart(replica)
            wait_for_servers(lambda replica=replica: servers.is_primary(replica) or servers.holds_back(replica))
            assert not servers.is_primary(replica)
            servers.restart(primary)
            wait_for_servers(servers.is_whole)
        load.wait_for_each(5)
        ends = load.check()
    assert ends["delivered"] > 0.8 * sum(ends.values())


def test_servers_that_are_killed_at_the_same_time_lose_nothing_and_double_nothing(servers, harness):
    """Confirmed writes are in the files of both servers, so the first to come back has them."""
    with Load(harness) as load:
        load.wait_for(CALLS)
        for lost in ("every primary", "a primary and its replica", "all"):
            primaries = [servers.primary_of(pair) for pair in range(servers.primaries)]
            replicas = [2 * pair + servers.primaries - primary for pair, primary in enumerate(primaries)]
            of = {"every primary": (3, 0), "a primary and its replica": (1, 1), "all": (3, 3)}[lost]
            killed = [*primaries[: of[0]], *replicas[: of[1]]]
            refused = load.refused
            for number in killed:
                servers.kill(number)
            wait_until(lambda refused=refused: load.refused > refused, FAILOVER_S)
            for number in reversed(killed):  # replicas first: may they take over what they have
                servers.restart(number)
                load.wait_for_tries(5)
            wait_for_servers(servers.is_whole)
            load.wait_for_each(5)
        ends = load.check()
    assert ends["delivered"] > 0.8 * sum(ends.values())
