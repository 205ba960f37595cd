"""Records when keys of the rings were promoted and retired, by the server's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.store import keyspace
from relay.store.server_clock import time_ms_of
from relay.store.server_errors import store_errors

if TYPE_CHECKING:
    from redis import Redis


class VaultLog:
    """The times of promotions and retirements. Methods raise ``Unavailable`` when the store cannot be reached."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client

    def promoted(self, ring: str, key_id: str) -> None:
        """Record that a key of a ring seals from now on."""
        with store_errors():
            self._client.hset(keyspace.promotions(), mapping={ring: time_ms_of(self._client), f"{ring}:key": key_id})

    def retired(self, ring: str, key_id: str) -> None:
        """Record that a key of a ring is retired now."""
        with store_errors():
            self._client.hset(keyspace.promotions(), f"{ring}:retired:{key_id}", time_ms_of(self._client))

    def retired_ms_ago(self, ring: str, key_id: str) -> int:
        """Return how long ago a key was retired, in milliseconds; 0 if that was not recorded."""
        with store_errors():
            at_ms = self._client.hget(keyspace.promotions(), f"{ring}:retired:{key_id}")
            return 0 if at_ms is None else time_ms_of(self._client) - int(at_ms)
