"""Records when keys of the rings were retired, by the server's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.store.keys import keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.scripting.scripts import Scripts
from relay.store.server.clock import time_ms_at
from relay.store.server.errors import store_errors

if TYPE_CHECKING:
    from redis import Redis


class VaultLog:
    """The times of retirements. Methods raise ``Unavailable`` when the store cannot be reached."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client
        self._scripts = Scripts(client)

    def retired(self, ring: str, key_id: str) -> None:
        """Record that a key of a ring is retired now."""
        field = f"{ring}:retired:{key_id}"
        self._scripts.write(SHARED_ROOT, "HSET", keyspace.promotions(), field, time_ms_at(self._client, SHARED_ROOT))

    def retired_ms_ago(self, ring: str, key_id: str) -> int:
        """Return how long ago a key was retired, in milliseconds; 0 if that was not recorded."""
        with store_errors():
            at_ms = self._client.hget(keyspace.promotions(), f"{ring}:retired:{key_id}")
            return 0 if at_ms is None else max(0, time_ms_at(self._client, SHARED_ROOT) - int(at_ms))
