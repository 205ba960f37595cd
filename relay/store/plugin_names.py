"""Lists the plugins of all partitions, and tells which of them are being moved.

A plugin that is being moved stays in the source's list until its keys there are deleted, and enters the target's list
before any process uses it there. So at every moment it is in at least one list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.errors import Conflict
from relay.reference_id import bucket_of_plugin
from relay.store.bucket_locations import LEFT, table_key

if TYPE_CHECKING:
    from relay.store.keyspace import Keyspace


def plugins_of(client: Any, keys: Keyspace) -> list[str]:
    """Return every plugin once, including those that are being moved."""
    return sorted({name for number in range(keys.partitions) for name in plugins_noted(client, keys, number)})


def plugins_in(client: Any, keys: Keyspace, number: int) -> list[str]:
    """Return the plugins of a partition that are not being moved."""
    names = plugins_noted(client, keys, number)
    if keys.partitions == 1:
        return names
    return [name for name in names if not keys.is_moving(name) and keys.partition_of(name) == number]


def plugins_noted(client: Any, keys: Keyspace, number: int) -> list[str]:
    """Return the plugins that a partition lists, including those that an unfinished move brings or takes away."""
    return [name.decode() for name in client.smembers(keys.plugins(number))]


def locations_at_rest(client: Any, keys: Keyspace) -> list[dict[bytes, bytes]]:
    """Return the contents of all tables of locations; if two reads are equal, nothing was moved in between.

    Raises:
        Conflict: plugins are being moved now; the message names them.
    """
    tables: list[dict[bytes, bytes]] = [client.hgetall(table_key(home)) for home in range(keys.partitions)]
    for field, text in (pair for table in tables for pair in table.items()):
        if field.startswith(LEFT.encode()) or b":" in text:
            bucket = int(field.rpartition(b":")[2])
            names = [name for name in plugins_of(client, keys) if bucket_of_plugin(name) == bucket]
            raise Conflict(
                f"Being moved to another partition: {', '.join(names)}. Wait until they have moved; if the command"
                " was interrupted, give the same `relay partitions move` again."
            )
    return tables
