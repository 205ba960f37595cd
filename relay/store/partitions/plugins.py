"""Lists the plugins of one partition, or of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.store.keys.names import key_in, partition_root
from relay.store.partitions.reachable import ask_partitions
from relay.store.server.errors import store_errors
from relay.store.server.fields import tell_damage
from relay.text.ids import ID_PATTERN

if TYPE_CHECKING:
    from relay.store.keys.keyspace import Keyspace


def plugins_of(client: Any, keys: Keyspace) -> list[str]:
    """Return every plugin of the partitions that answer. Raises `Unavailable` if none does."""
    return sorted(name for names in ask_partitions(client, keys, lambda n: plugins_in(client, n)) for name in names)


def plugins_in(client: Any, number: int) -> list[str]:
    """Return the plugins of a partition. Raises `Unavailable` while it does not answer."""
    key = key_in(partition_root(number), "plugins")
    with store_errors():
        members = sorted(name.decode("utf-8", "backslashreplace") for name in client.smembers(key))
    for name in members:
        if not ID_PATTERN.match(name):
            tell_damage(key, name)
    return [name for name in members if ID_PATTERN.match(name)]
