"""Which plugins there are, in all partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay.store.keyspace import Keyspace


def plugins_of(client: Any, keys: Keyspace) -> list[str]:
    """The plugins of every partition, by partition."""
    return [name.decode() for number in range(keys.partitions) for name in client.smembers(keys.plugins(number))]
