"""Makes every process use the number of partitions that the store's first process recorded.

A process with another number would look for keys in the wrong partitions. While the store is being divided, a mark
takes the place of the number, and no process starts; nor does one that cannot read the store's format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ConnectionError as ServerGone

from relay.errors import SettingsError, Unavailable
from relay.store.keys import keyspace
from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import SHARED, SHARED_ROOT, key_in, partition_root
from relay.store.partitions.format import agree_on_format, format_refusal, read_format, write_format
from relay.store.partitions.plugins import plugins_in
from relay.store.partitions.reachable import ask_partitions, ask_roots
from relay.store.server.connection import connect
from relay.store.server.errors import store_errors
from relay.text.server_addresses import is_cluster

if TYPE_CHECKING:
    from redis import Redis

    from relay.settings import Settings


#: The number of partitions of a cluster, unless a setting gives another.
CLUSTER_PARTITIONS: Final = 16
#: What the key of the number begins with while the store is being divided (relay/store/partitions/dividing.py); after
#: it come the number that the store will have, and counts.
DIVIDING: Final = b"dividing:"


def partitions_of(settings: Settings) -> int:
    """Return the number of partitions that the settings ask for."""
    return settings.partitions or (CLUSTER_PARTITIONS if is_cluster(settings.store_url.reveal()) else 1)


def agreed_client(settings: Settings) -> Redis:
    """Make a client of the store, once settings and store agree on the number of partitions and on the format.

    Raises what `agree_on_partitions` and `agree_on_format` raise.

    If a single server is away, the first connection to it makes the comparison. Until then calls raise `Unavailable`,
    and they keep doing so if the store has another number or a newer format.
    """
    client, count = connect(settings), partitions_of(settings)
    try:
        agree_on_partitions(client, count)
        agree_on_format(client, Keyspace(count))
    except Unavailable:
        if count > 1:
            raise
    else:
        return client
    client.close()
    client = connect(settings)  # it has no connections yet
    client.connection_pool.connection_kwargs["redis_connect_func"] = _check_on_connect
    return client


def agree_on_partitions(client: Redis, count: int) -> Redis:
    """Compare ``count`` with the store's number of partitions, or write it if there is none; return the client.

    Each partition has a copy of the number, for processes that start while the server of the shared keys is silent.

    Raises:
        SettingsError: the store has another number of partitions, or is being divided.
        Unavailable: the store is away, or a part of a store that has no number yet.
    """
    any_client: Any = client
    keys = Keyspace(count)

    def read(root: str) -> bytes | None:
        with store_errors():
            found: bytes | None = any_client.get(root + SHARED["partitions"])
        return found

    answers = ask_roots(client, keys, read).found
    found, one = next(filter(None, answers.values()), None), False
    if SHARED_ROOT in answers:
        with store_errors():
            found, one = _found_or_written(any_client, count, answers[SHARED_ROOT])
    elif found is None:
        raise Unavailable
    if refusal := _refusal(found, count):
        more = f" To have {count}, stop every process, then: relay partitions divide {count}" if one else ""
        raise SettingsError(refusal + more)
    if count > 1 and None in answers.values():
        ask_partitions(client, keys, lambda number: _copy(any_client, number, count))
    return client


def _found_or_written(client: Any, count: int, found: bytes | None) -> tuple[bytes | None, bool]:
    """Return the store's number, which is written if it is missing, and whether only one partition is in use."""
    if found is not None or count == 1:
        return found, False
    if _has_one_partition(client, count):
        return None, True
    client.set(keyspace.shared("partitions"), count, nx=True)
    return client.get(keyspace.shared("partitions")), False


def _copy(client: Any, number: int, count: int) -> None:
    with store_errors():
        client.set(key_in(partition_root(number), "partitions_copy"), count)


def _refusal(found: bytes | None, count: int) -> str:
    """Return why a process with ``count`` partitions may not use a store that has ``found``; empty if it may."""
    if found is not None and found.startswith(DIVIDING):
        target = int(found.removeprefix(DIVIDING).split()[0])
        return (
            f"The store is being divided into {target} partitions: wait until that is done; if it was interrupted, run"
            f" again: relay partitions divide {target}"
        )
    has = int(found or 1)
    if has == count:
        return ""
    return f"RELAY_PARTITIONS is {count}, but the store has {has}: use {has} for every process and command."


def _check_on_connect(connection: Any) -> None:
    """Check the number of partitions and the format on a new connection, before any other command.

    Nothing here may check the connection's health: redis-py would connect again if that failed, and so end up here
    again and again, until the stack is full.
    """

    def run(*command: Any) -> Any:
        if not connection.is_connected:  # redis-py would connect again
            raise ServerGone("The server closed the connection while it was checked.")
        connection.send_command(*command, check_health=False)
        return connection.read_response()

    connection.on_connect_check_health(check_health=False)
    found = read_format(run, SHARED_ROOT)
    if refusal := _refusal(run("GET", keyspace.shared("partitions")), 1) or format_refusal(found):
        connection.disconnect()
        raise Unavailable(refusal)
    write_format(run, SHARED_ROOT, found)


def _has_one_partition(client: Any, count: int) -> bool:
    """Return whether the first partition has plugins and no other has."""
    answers = ask_partitions(client, Keyspace(count), lambda number: bool(plugins_in(client, number)))
    if not answers.complete:
        raise Unavailable  # the one that is silent may be the only one in use
    return [number for number, in_use in answers.found.items() if in_use] == [0]
