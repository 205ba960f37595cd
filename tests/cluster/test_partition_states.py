"""Where partitions lie: on a cluster, also while one of its servers is lost, and with Sentinels."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from relay.cli import main
from relay.domain.reference_id import new_reference_id
from relay.errors import Unavailable
from relay.store.keys import keyspace as shared
from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import key_in, partition_root
from relay.store.ledger.acceptance import NewInvocation
from relay.store.ledger.invocations import InvocationStore
from relay.store.partitions.number import agree_on_partitions
from relay.store.partitions.states import partition_states
from relay.store.server.connection import client_of
from tests.cluster.sentinels import sentinels
from tests.cluster.servers import cluster
from tests.contract.ledger import LIMITS
from tests.timing import wait_until

PLUGINS = [f"plugin-{number}" for number in range(12)]
KEYS = Keyspace(16)


@pytest.fixture(scope="module")
def servers():
    """A cluster that, when a primary is lost, still serves the remaining slots."""
    with cluster(3) as running:
        for number in range(3):
            with running.node(number) as node:
                node.config_set("cluster-require-full-coverage", "no")
        yield running


def called(servers):
    """A client of the cluster, in which every plugin has a queued call."""
    client = client_of(servers.url, socket_timeout=5)
    for plugin in PLUGINS:
        client.hset(KEYS.of_plugin("webhooks", plugin), "hook", 1)
        client.sadd(key_in(partition_root(KEYS.partition_of(plugin)), "plugins"), plugin)
    news = [
        NewInvocation(
            new_reference_id(plugin), plugin, "hook", 1, "bulk", timeout_ms=1_000, payload=b"sealed", request_bytes=6
        )
        for plugin in PLUGINS
    ]
    InvocationStore(client, LIMITS, lease_margin_ms=10_000, keys=KEYS).accept(news, [])
    return client


def test_each_partition_names_its_primary_and_what_it_has_and_a_lost_one_that_it_is_away(servers):
    client = called(servers)
    states = partition_states(client, KEYS)
    assert [state.number for state in states] == list(range(16))
    assert {state.server for state in states} == {f"127.0.0.1:{server.port}" for server in servers.servers}
    for state in states:
        assert state.server == client.get_node_from_key(state.root).name
        assert list(state.plugins) == sorted(each for each in PLUGINS if KEYS.partition_of(each) == state.number)
        assert (state.pending, state.records) == (len(state.plugins), len(state.plugins))

    kept = client.get_node_from_key(shared.shared("partitions")).port
    lost = next(number for number, server in enumerate(servers.servers) if server.port != kept)
    address = f"127.0.0.1:{servers.servers[lost].port}"
    servers.kill(lost)
    wait_until(lambda: int(servers.state((lost + 1) % 3)["cluster_slots_fail"]) > 0, 30)
    after = partition_states(client, KEYS)
    for before, now in zip(states, after, strict=True):
        if before.server == address:
            assert (now.root, now.server, now.plugins, now.pending, now.records) == (before.root, None, (), None, None)
        else:
            assert now == before
    assert any(state.server is None for state in after)

    for number in {0, 1, 2} - {lost}:
        servers.kill(number)
    with pytest.raises(Unavailable):
        partition_states(client, KEYS)
    client.close()


def test_the_command_shows_the_others_where_what_all_have_in_common_is_away(tmp_path):
    with cluster(3) as running:
        for number in range(3):
            with running.node(number) as node:
                node.config_set("cluster-require-full-coverage", "no")
        client = called(running)
        agree_on_partitions(client, 16)
        kept = client.get_node_from_key(shared.shared("partitions")).port
        (lost,) = (number for number, server in enumerate(running.servers) if server.port == kept)
        client.close()
        running.kill(lost)
        left = {0, 1, 2} - {lost}
        wait_until(lambda: all(int(running.state(number)["cluster_slots_fail"]) > 0 for number in left), 30)
        environ = {"RELAY_REDIS_URL": running.url, "RELAY_BROKER_URL": "amqp://nobody:x@127.0.0.1:1/"}
        done = CliRunner().invoke(
            main, ["--data-dir", str(tmp_path), "partitions", "show", "--output", "json"], env=environ
        )
        assert done.exit_code == 0, done.output
        rows = json.loads(done.stdout)
        assert len(rows) == 16
        assert {row["server"] for row in rows} == {None} | {
            f"127.0.0.1:{server.port}" for number, server in enumerate(running.servers) if number != lost
        }


def test_the_primary_that_sentinels_name_has_the_one_partition():
    with sentinels(replicas=1, count=2) as found:
        client = client_of(found.url, socket_timeout=5)
        (state,) = partition_states(client, Keyspace())
        assert (state.number, state.server) == (0, f"127.0.0.1:{found.primary_port()}")
        client.close()
