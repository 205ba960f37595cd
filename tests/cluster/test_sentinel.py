"""A store and a broker found through Sentinels: killing a primary loses and doubles nothing."""

from __future__ import annotations

from tests.cluster.load import Load
from tests.cluster.sentinels import sentinels
from tests.integration.worker_harness import worker_harness
from tests.timing import wait_until

FAILOVER_S = 60


def test_a_primary_that_is_killed_beneath_sentinels_loses_nothing_and_doubles_nothing(tmp_path_factory):
    with sentinels() as servers:
        settings = {"RELAY_REDIS_URL": servers.url, "RELAY_STORE_REPLICAS": "1", "RELAY_LEASE_MARGIN": "2"}
        with worker_harness(tmp_path_factory, **settings) as harness:
            harness.start_worker("bulk")
            with Load(harness) as load:
                load.wait_for(100)
                before = servers.primary_port()
                servers.kill(0)
                wait_until(lambda: servers.primary_port() != before, FAILOVER_S)
                load.wait_for(100)
                ends = load.check()
    assert ends["delivered"] > 0.8 * sum(ends.values())
