"""What concerns one plugin asks only the server of its partition and the one of the shared keys, whatever is asked."""

from __future__ import annotations

import pytest

from relay.accept.intake import TriggerRequest
from relay.domain.reference_id import new_reference_id
from relay.store.health.readiness import ServerWarnings
from relay.store.keys.names import SHARED_ROOT
from relay.store.ledger.listing import Filter
from relay.store.rings.log import note_retired
from relay.store.server.availability import PatientConnection
from tests.integration.worker_harness import hook, worker_harness

PLUGIN, WEBHOOK = "acme", "hook"


@pytest.fixture(scope="module")
def runtime(three_nodes, tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_STORE_URL=three_nodes.url) as harness:
        harness.register(hook("http://127.0.0.1:9/"))
        yield harness.runtime


def nodes_of(runtime):
    """Return the servers of the plugin's partition and of the shared keys."""
    return {runtime.client.get_node_from_key(root) for root in (runtime.keyspace.root(PLUGIN), SHARED_ROOT)}


@pytest.fixture
def asked(runtime, monkeypatch):
    """The servers to which anything was sent. redis-py's default for commands without a key is one of the others."""
    others = [node for node in runtime.client.get_primaries() if node not in nodes_of(runtime)]
    found, send = set(), PatientConnection.send_packed_command

    def noting(connection, *args, **options):
        found.add((connection.host, int(connection.port)))
        send(connection, *args, **options)

    monkeypatch.setattr(PatientConnection, "send_packed_command", noting)
    runtime.client.nodes_manager.default_node = others[0]
    return found


def trigger(runtime, ref):
    call = TriggerRequest(PLUGIN, WEBHOOK, {"data": {}}, ref, "k1")
    return runtime.dispatcher.trigger(call).reference_id


def keys_rotate(runtime, _ref):
    _, key = runtime.api_keys.create(PLUGIN, ["trigger"], [])
    _, newer, _ = runtime.api_keys.rotate(key.id, 60)
    runtime.api_keys.revoke(newer.id)


def authenticates(runtime, _ref):
    text, _ = runtime.api_keys.create(PLUGIN, ["trigger"], [])
    assert runtime.api_keys.authenticate(text).plugin == PLUGIN


OPERATIONS = {
    "trigger": trigger,
    "find": lambda runtime, ref: runtime.store.find(ref),
    "get": lambda runtime, ref: runtime.store.get(PLUGIN, ref),
    "look up": lambda runtime, ref: runtime.store.look_up(ref, PLUGIN),
    "join": lambda runtime, ref: runtime.store.join(PLUGIN, ref, "process"),
    "result": lambda runtime, ref: runtime.store.result_of(ref),
    "payload": lambda runtime, ref: runtime.store.payload_of(ref),
    "waits": lambda runtime, _: runtime.store.waits(PLUGIN, WEBHOOK),
    "counts": lambda runtime, _: runtime.store.counts(PLUGIN),
    "cancel": lambda runtime, ref: runtime.store.cancel(ref, plugin=PLUGIN),
    "list": lambda runtime, _: runtime.listing.page(PLUGIN, Filter()),
    "groups": lambda runtime, _: runtime.listing.groups(PLUGIN, Filter()),
    "webhooks": lambda runtime, _: runtime.registry.shapes(PLUGIN),
    "webhook": lambda runtime, _: runtime.registry.current(PLUGIN, WEBHOOK, refresh=True),
    "traffic": lambda runtime, _: runtime.traffic.report(PLUGIN),
    "pause": lambda runtime, _: runtime.traffic.pause(PLUGIN, WEBHOOK),
    "resume": lambda runtime, _: runtime.traffic.resume(PLUGIN, WEBHOOK),
    "close the breaker": lambda runtime, _: runtime.traffic.close_breaker(PLUGIN, WEBHOOK),
    "minutes": lambda runtime, _: runtime.measures.minutes(PLUGIN),
    "recent": lambda runtime, _: runtime.measures.recent(PLUGIN, 5),
    "counts of webhooks": lambda runtime, _: runtime.measures.webhooks(PLUGIN),
    "totals": lambda runtime, _: runtime.measures.totals(PLUGIN),
    "replays": lambda runtime, _: runtime.replays.list(PLUGIN),
    "workers": lambda runtime, _: runtime.workers.alive(),
    "key": authenticates,
    "keys": keys_rotate,
    "rings": lambda runtime, _: note_retired(runtime.client, "data", "k"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_other_server_is_asked(runtime, asked, operation):
    ref = new_reference_id(PLUGIN)
    trigger(runtime, ref)
    OPERATIONS[operation](runtime, ref)
    assert asked
    assert asked <= {(node.host, node.port) for node in nodes_of(runtime)}


@pytest.mark.parametrize("number", range(3))
def test_a_warning_is_told_of_any_server(runtime, three_nodes, number):
    assert not any("eviction" in warning for warning in ServerWarnings(runtime.client).now())
    with three_nodes.node(number) as node:
        node.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert [warning for warning in ServerWarnings(runtime.client).now() if "eviction" in warning] == [
                "The eviction policy is not noeviction: a full server forgets records."
            ]
        finally:
            node.config_set("maxmemory-policy", "noeviction")
