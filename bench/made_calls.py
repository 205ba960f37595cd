"""Calls made by the relay's own scripts alone, from acceptance to end, without API, workers and endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from relay.invocation import Attempt, Outcome, Sent, State
from relay.reference_id import new_reference_id
from relay.store.acceptance import NewInvocation
from relay.store.invocations import InvocationStore
from relay.store.keyspace import Keyspace
from relay.store.limits import Limits
from relay.store.transitions import Settlement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.nodes import Nodes

DAY_MS: Final = 24 * 3600 * 1000
LIMITS: Final = Limits(10**9, 10**9, 1 << 50, 30 * DAY_MS, 90 * DAY_MS, 30 * DAY_MS, DAY_MS)
HOOK: Final = "hook"
ATTEMPT: Final = Attempt(1, 1, 5, 200, Outcome.ANSWERED, Sent.ANSWERED)


def store_of(client: Any, partitions: int) -> InvocationStore:
    """Return a store with ``partitions`` partitions."""
    return InvocationStore(client, LIMITS, lease_margin_ms=10_000, keys=Keyspace(partitions))


def plugins_of(nodes: Nodes, keys: Keyspace) -> list[str]:
    """Return a plugin with a webhook on each primary."""
    found: dict[int, str] = {}
    number = 0
    ports = [client.connection_pool.connection_kwargs["port"] for client in nodes.primaries]
    while len(found) < len(ports):
        plugin = f"plugin-{number}"
        port = nodes.client.get_node_from_key(keys.root(plugin)).port  # type: ignore[attr-defined]
        found.setdefault(ports.index(port), plugin)
        number += 1
    plugins = [found[place] for place in range(len(ports))]
    for plugin in plugins:
        register(nodes.client, keys, plugin)
    return plugins


def register(client: Any, keys: Keyspace, plugin: str) -> None:
    """Gives a plugin a webhook, with no more than the scripts need."""
    client.hset(keys.webhooks(plugin), HOOK, 1)
    client.sadd(keys.plugins(keys.partition_of(plugin)), plugin)


def new_call(plugin: str, waiter: str = "") -> NewInvocation:
    """Return a call of 100 bytes."""
    more = {"waiter": waiter} if waiter else {}
    return NewInvocation(
        new_reference_id(plugin), plugin, HOOK, 1, "bulk", timeout_ms=20_000, payload=b"sealed" * 20, request_bytes=100,
        **more,
    )  # fmt: skip


def make(store: InvocationStore, plugins: Sequence[str], calls: int, group: int) -> None:
    """Accept calls and bring them to their end, a group at a time, alternating between plugins."""
    for start in range(0, calls, group):
        news = [new_call(plugins[number % len(plugins)]) for number in range(start, start + group)]
        refs, token = [new.reference_id for new in news], uuid4().hex
        store.accept(news, ())
        store.read(refs)
        store.claim(refs, token)
        store.settle(
            [
                Settlement(ref, token, State.DELIVERED, Outcome.ANSWERED, 200, False, ATTEMPT, result=b"sealed" * 5)
                for ref in refs
            ]
        )
