"""A primary that its cluster cannot reach, but clients can: it confirms no writes, and its successor is found."""

from __future__ import annotations

import pytest

from tests.cluster.hosted import hosted_cluster
from tests.cluster.load import Load
from tests.integration.worker_harness import worker_harness
from tests.timing import wait_until

FAILOVER_S = 60


@pytest.fixture(scope="module")
def servers():
    with hosted_cluster(3, 3 + 4) as running:
        yield running


@pytest.fixture
def harness(servers, tmp_path_factory):
    settings = {"RELAY_STORE_URL": servers.url, "RELAY_STORE_REPLICAS": "1", "RELAY_LEASE_MARGIN": "2"}
    with worker_harness(tmp_path_factory, RELAY_REDIS_PLAINTEXT="true", **settings) as harness:
        harness.start_worker("bulk")
        yield harness


def test_a_primary_that_is_cut_off_from_its_cluster_loses_nothing_and_doubles_nothing(servers, harness):
    with Load(harness) as load:
        load.wait_for(60)
        servers.cut_off(0)  # its replicas are 3 and 6
        wait_until(lambda: servers.is_primary(3) or servers.is_primary(6), FAILOVER_S)
        assert servers.is_primary(0), "both sides have one"
        load.wait_for_each(5)
        servers.heal(0)
        wait_until(lambda: servers.follows(0), FAILOVER_S)
        load.wait_for_each(5)
        ends = load.check()
    assert ends["delivered"] > 0.8 * sum(ends.values())
