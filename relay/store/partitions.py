"""How many partitions a store has: what its first process said, for whoever looks elsewhere finds nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.errors import SettingsError
from relay.store import keyspace
from relay.store.keyspace import Keyspace
from relay.store.places import OTHERS, Place, table_key
from relay.store.scripts import store_errors
from relay.text.server_addresses import is_cluster

if TYPE_CHECKING:
    from redis import Redis

    from relay.settings import Settings


#: What a cluster has where nobody says otherwise.
CLUSTER_PARTITIONS: Final = 16


def partitions_of(settings: Settings) -> int:
    """How many partitions the store has by the settings."""
    return settings.partitions or (CLUSTER_PARTITIONS if is_cluster(settings.store_url.reveal()) else 1)


def agree_on_partitions(client: Redis, count: int) -> Redis:
    """Write down how many there are, or compare; one is not asked about. Returns the client.

    Raises:
        SettingsError: the store has another number of them.
        Unavailable: the store is away.
    """
    if count == 1:
        return client
    any_client: Any = client
    with store_errors():
        if not any_client.exists(keyspace.partitions()) and _has_one_partition(any_client, count):
            _leave_all_in_the_first(any_client, count)
        any_client.set(keyspace.partitions(), count, nx=True)
        found = int(any_client.get(keyspace.partitions()))
    if found != count:
        raise SettingsError(f"RELAY_PARTITIONS is {count}, and the store began with {found}: keep that number.")
    return client


def _has_one_partition(client: Any, count: int) -> bool:
    """Whether there are plugins in the first partition and in no other."""
    keys = Keyspace(count)
    return bool(client.exists(keys.plugins(0))) and not any(client.exists(keys.plugins(n)) for n in range(1, count))


def _leave_all_in_the_first(client: Any, count: int) -> None:
    """Say of a store that has had one partition that everything is in it: plugins are moved one by one."""
    for home in range(count):
        client.hsetnx(table_key(home), OTHERS, Place(0).to_text())
