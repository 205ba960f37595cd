"""Which plugins there are, in all partitions, and whether one of them is on its way to another.

One that is moved is noted where it was until its keys there are deleted, and where it will be before anybody uses it
there: at every moment it is somewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.errors import Conflict
from relay.reference_id import bucket_of_plugin
from relay.store.places import LEFT, table_key

if TYPE_CHECKING:
    from relay.store.keyspace import Keyspace


def plugins_of(client: Any, keys: Keyspace) -> list[str]:
    """Return every plugin once, also what is on its way to another partition."""
    return sorted({name for number in range(keys.partitions) for name in plugins_noted(client, keys, number)})


def plugins_in(client: Any, keys: Keyspace, number: int) -> list[str]:
    """Return the plugins that are in a partition, and not on their way."""
    names = plugins_noted(client, keys, number)
    if keys.partitions == 1:
        return names
    return [name for name in names if not keys.is_moving(name) and keys.partition_of(name) == number]


def plugins_noted(client: Any, keys: Keyspace, number: int) -> list[str]:
    """Return the plugins of a partition, and those that come to it or have left it in a move that is not over."""
    return [name.decode() for name in client.smembers(keys.plugins(number))]


def places_at_rest(client: Any, keys: Keyspace) -> list[dict[bytes, bytes]]:
    """Return all that is written of places: the same twice means that nothing was moved in between.

    Raises:
        Conflict: something is being moved now; the message names it.
    """
    tables: list[dict[bytes, bytes]] = [client.hgetall(table_key(home)) for home in range(keys.partitions)]
    for field, text in (pair for table in tables for pair in table.items()):
        if field.startswith(LEFT.encode()) or b":" in text:
            bucket = int(field.rpartition(b":")[2])
            names = [name for name in plugins_of(client, keys) if bucket_of_plugin(name) == bucket]
            raise Conflict(
                f"Being moved to another partition: {', '.join(names)}. Wait until that is over; if nobody is at it,"
                " give the same `relay partitions move` again."
            )
    return tables
