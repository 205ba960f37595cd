"""Parked calls, as a process looks for them that has room for some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.store import keyspace
from relay.store.scripts import Scripts, store_errors
from relay.store.transitions import Ready, ready_from

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis


class ParkedCalls:
    """What waits until its webhook may send, or a worker has room. Raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, scripts: Scripts, grace_ms: int) -> None:
        self._client = client
        self._scripts = scripts
        self._grace_ms = grace_ms

    def webhooks(self, *, limit: int) -> list[tuple[str, str]]:
        """Some of the webhooks, with their plugins, that have parked calls."""
        return some_webhooks(self._client, keyspace.parked_webhooks(), limit)

    def wake(self, plugin: str, webhook_id: str, room: int, lanes: Iterable[str]) -> Ready:
        """A webhook's parked calls that may go now, for a process of these lanes that has ``room`` for so many."""
        return ready_from(self._scripts.run("wake", [self._grace_ms, plugin, webhook_id, room, *lanes]))


def some_webhooks(client: Any, key: str, limit: int) -> list[tuple[str, str]]:
    """Some of the members of a set of webhooks, ``plugin/webhook``."""
    with store_errors():
        names = client.srandmember(key, limit)
    return [(plugin, webhook) for plugin, webhook in (name.decode().split("/") for name in names)]
