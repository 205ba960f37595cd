"""Primaries that are killed or frozen while calls run: nothing accepted is lost, nothing unrepeatable is doubled."""

from __future__ import annotations

import pytest

from tests.cluster.load import Load
from tests.cluster.servers import cluster
from tests.conftest import wait_until
from tests.integration.worker_harness import worker_harness

FAILOVER_S = 60


@pytest.fixture
def servers():
    with cluster(3, replicas=1) as servers:
        yield servers


@pytest.fixture
def harness(servers, tmp_path_factory):
    settings = {"RELAY_STORE_URL": servers.url, "RELAY_STORE_REPLICAS": "1", "RELAY_LEASE_MARGIN": "2"}
    with worker_harness(tmp_path_factory, **settings) as harness:
        harness.start_worker("bulk")
        harness.start_worker("bulk", 2)
        yield harness


def test_killed_and_frozen_primaries_lose_nothing_and_double_nothing(servers, harness):
    with Load(harness) as load:
        load.wait_for(100)
        servers.kill(0)
        wait_until(lambda: servers.is_primary(3), FAILOVER_S)
        servers.restart(0)  # with a replica that is gone nothing of its partitions is accepted
        load.wait_for(100)
        servers.freeze(1)
        wait_until(lambda: servers.is_primary(4), FAILOVER_S)
        servers.thaw(1)
        wait_until(lambda: not servers.is_primary(0) and not servers.is_primary(1), FAILOVER_S)
        load.wait_for(100)
        with servers.node(5) as replica:
            replica.execute_command("CLUSTER FAILOVER")
        wait_until(lambda: servers.is_primary(5), FAILOVER_S)
        load.wait_for(100)
        ends = load.check()
    assert ends["delivered"] > 0.8 * sum(ends.values())
