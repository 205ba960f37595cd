"""Finds and wakes parked calls, for a worker that has capacity for some."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from relay.store.keys.names import key_in, partition_root
from relay.store.ledger.transitions import Ready, ready_from
from relay.store.partitions.reachable import ask_partitions
from relay.store.server.errors import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from relay.store.keys.keyspace import Keyspace
    from relay.store.scripting.scripts import Scripts


class ParkedCalls:
    """Parked calls: their webhook may not send now, or no worker has capacity.

    Methods raise `Unavailable` while the server is away.
    """

    def __init__(self, client: redis.Redis, scripts: Scripts, grace_ms: int, keys: Keyspace) -> None:
        self._keys = keys
        self._client = client
        self._scripts = scripts
        self._grace_ms = grace_ms

    def webhooks(self, *, limit: int) -> list[tuple[str, str]]:
        """Return some of the webhooks that have parked calls, as plugin and webhook id."""
        answers = ask_partitions(
            self._client,
            self._keys,
            lambda number: some_webhooks(self._client, key_in(partition_root(number), "parked_webhooks"), limit),
        )
        return [*chain.from_iterable(answers)]

    def wake(self, plugin: str, webhook_id: str, capacity: int, lanes: Iterable[str]) -> Ready:
        """Wake up to ``capacity`` of a webhook's parked calls that may be sent now, for a worker with these lanes."""
        args = [self._grace_ms, plugin, webhook_id, capacity, *lanes]
        return ready_from(self._scripts.run("wake", args, self._keys.root(plugin)))


def some_webhooks(client: Any, key: str, limit: int) -> list[tuple[str, str]]:
    """Return some members of a set of webhooks, as pairs of plugin and webhook id."""
    with store_errors():
        found: list[bytes] = client.srandmember(key, limit)
    return [(plugin, webhook) for plugin, webhook in (name.decode().split("/") for name in found)]
