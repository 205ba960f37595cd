"""Lists the plugins of one partition, or of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay.store.keys.keyspace import Keyspace


def plugins_of(client: Any, keys: Keyspace) -> list[str]:
    """Return every plugin."""
    return sorted(name for number in range(keys.partitions) for name in plugins_in(client, keys, number))


def plugins_in(client: Any, keys: Keyspace, number: int) -> list[str]:
    """Return the plugins of a partition."""
    return [name.decode() for name in client.smembers(keys.plugins(number))]
