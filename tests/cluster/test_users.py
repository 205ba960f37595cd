"""The users of `deploy/users.acl` have all rights that the processes need on a cluster with replicas."""

from __future__ import annotations

import uuid

import pytest

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import key_in, partition_root
from relay.store.ledger.acceptance import AcceptVerdict, NewInvocation
from relay.store.ledger.invocations import InvocationStore
from relay.store.ledger.transitions import Settlement
from relay.store.partitions.number import agree_on_partitions
from relay.store.partitions.states import partition_states
from relay.store.scripting.loading import load_functions
from relay.store.server.connection import client_of
from relay.store.server.replicas import require_replicas
from relay.up import access
from tests.cluster.servers import cluster
from tests.contract.ledger import LIMITS
from tests.timing import ANSWER_S

KEYS = Keyspace(16)
PLUGINS = [f"plugin-{number}" for number in range(12)]
PASSWORD = "secret"


@pytest.fixture(scope="module")
def servers():
    with cluster(3, replicas=1) as servers:
        for number in range(6):
            with servers.node(number) as node:
                for user in access.users():
                    _, name, *rules = user.rule(PASSWORD).split()
                    node.execute_command("ACL", "SETUSER", name, *rules)
        assert load_functions(servers.url) == 3
        client = client_of(servers.url, socket_timeout=ANSWER_S)
        for plugin in PLUGINS:
            client.hset(KEYS.of_plugin("webhooks", plugin), "hook", 1)
            client.sadd(key_in(partition_root(KEYS.partition_of(plugin)), "plugins"), plugin)
        client.close()
        yield servers


@pytest.mark.parametrize("name", ["api", "worker", "operator"])
def test_a_user_moves_calls_of_every_primary_and_waits_for_replicas(servers, name):
    client = client_of(servers.url.replace("://", f"://{name}:{PASSWORD}@"), socket_timeout=10)
    agree_on_partitions(client, 16)
    require_replicas(client, 1)
    store = InvocationStore(client, LIMITS, lease_margin_ms=10_000, keys=KEYS)
    news = [
        NewInvocation(
            new_reference_id(plugin), plugin, "hook", 1, "bulk", timeout_ms=1_000, payload=b"sealed", request_bytes=6
        )
        for plugin in PLUGINS
    ]
    refs = [new.reference_id for new in news]
    accepted, _ = store.accept(news, [])
    assert {each.verdict for each in accepted} == {AcceptVerdict.ACCEPTED}
    token = uuid.uuid4().hex
    assert store.claim(refs, token, park=[]).granted == set(refs)
    attempt = Attempt(1, 1, 5, 200, Outcome.ANSWERED, Sent.ANSWERED)
    ends = [
        Settlement(ref, token, State.DELIVERED, Outcome.ANSWERED, 200, False, attempt, result=b"answer") for ref in refs
    ]
    assert all(store.settle(ends).verdicts)
    assert {store.find(ref).state for ref in refs} == {State.DELIVERED}
    client.close()


def test_an_operator_sees_what_lies_where(servers):
    client = client_of(servers.url.replace("://", f"://operator:{PASSWORD}@"), socket_timeout=10)
    states = partition_states(client, KEYS)
    assert all(state.server is not None for state in states)
    assert sorted(plugin for state in states for plugin in state.plugins) == sorted(PLUGINS)
    client.close()
