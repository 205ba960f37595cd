"""Moves slots from one primary to another, in both ways that Valkey has: key by key, and whole."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis.crc import key_slot

from tests.cluster.servers import wait_for_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from tests.cluster.servers import ClusterServers

KEYS_AT_A_TIME = 50
MIGRATE_MS = 5_000


def slot_of(root: str) -> int:
    """Return the slot of all keys below a root."""
    return key_slot(root.encode())


def move_whole(servers: ClusterServers, slot: int, target: int, amid: Callable[[], None]) -> None:
    """Move a slot by `CLUSTER MIGRATESLOTS` (Valkey 9): a copy follows all writes, then takes over in one moment."""
    with servers.node(servers.owner(slot)) as client:
        client.execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", servers.id_of(target))
    amid()
    wait_for_servers(lambda: servers.owner(slot) == target)


def move_by_keys(servers: ClusterServers, slot: int, target: int, amid: Callable[[], None]) -> None:
    """Move a slot by `CLUSTER SETSLOT` and `MIGRATE`, as valkey-cli's reshard does; call ``amid`` half-way."""
    port = servers.servers[target].port
    with halfway(servers, slot, target) as (giver, taker):
        half = giver.execute_command("CLUSTER COUNTKEYSINSLOT", slot) // 2
        while keys := giver.execute_command("CLUSTER GETKEYSINSLOT", slot, half or KEYS_AT_A_TIME):
            giver.execute_command("MIGRATE", servers.host_of(target), port, "", 0, MIGRATE_MS, "KEYS", *keys)
            if half:
                amid()
            half = 0
        for client in (taker, giver):
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", servers.id_of(target))
    wait_for_servers(lambda: servers.owner(slot) == target)


@contextmanager
def halfway(servers: ClusterServers, slot: int, target: int) -> Iterator[tuple[redis.Redis, redis.Redis]]:
    """Prepare a slot for moving its keys one by one, or back; yield clients of its owner and of the target."""
    source = servers.owner(slot)
    with servers.node(source) as giver, servers.node(target) as taker:
        taker.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", servers.id_of(source))
        giver.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", servers.id_of(target))
        yield giver, taker
