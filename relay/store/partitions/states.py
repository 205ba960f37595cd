"""Reads what each partition holds, and which server it is on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.sentinel import SentinelConnectionPool

from relay.store.keys.names import key_in, partition_root
from relay.store.partitions.plugins import plugins_in
from relay.store.partitions.reachable import ask_partitions
from relay.store.server.errors import store_errors
from relay.store.server.fields import StoredFields
from relay.store.server.replicas import primary_of
from relay.store.server.replies import replies_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from relay.store.keys.keyspace import Keyspace


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition: the address of its server, its plugins, and how many of their invocations are pending and recorded.

    ``server`` and the counts are None if the server cannot be reached; a count is also None if it is damaged.
    """

    number: int
    root: str
    server: str | None
    plugins: tuple[str, ...] = ()
    pending: int | None = None
    records: int | None = None


def partition_states(client: redis.Redis, keys: Keyspace) -> list[PartitionState]:
    """Read the state of every partition, in order. Raises `Unavailable` if none can be reached."""
    answers = ask_partitions(client, keys, lambda number: _state_of(client, keys, number))
    states = {**answers.found, **{number: _away(number) for number in answers.silent}}
    return [states[number] for number in sorted(states)]


def _away(number: int) -> PartitionState:
    return PartitionState(number, partition_root(number), None)


def _state_of(client: Any, keys: Keyspace, number: int) -> PartitionState:
    plugins = plugins_in(client, number)
    with store_errors():
        key = key_in(partition_root(number), "pending")
        counted = [("ZCARD", keys.of_plugin("plugin_index", plugin)) for plugin in plugins]
        pending, *records = replies_to(client, [("HGETALL", key), *counted])
        stored = StoredFields(key, pending)
        count = stored.number("count") or (None if stored.damaged else 0)
        root = partition_root(number)
        # From the commands above, a cluster's client has learned the present primary of this root.
        server = _address_of(primary_of(client, root))
    return PartitionState(number, root, server, tuple(plugins), count, _sum(records))


def _sum(counts: Sequence[int | Exception]) -> int | None:
    """Return the sum of counts; None if one is damaged."""
    known = [count for count in counts if not isinstance(count, Exception)]
    return sum(known) if len(known) == len(counts) else None


def _address_of(server: Any) -> str:
    pool = server.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        host, port = pool.get_master_address()  # type: ignore[no-untyped-call]
        return f"{host}:{port}"
    place = pool.connection_kwargs
    return f"unix:{place['path']}" if "path" in place else f"{place['host']}:{place['port']}"
