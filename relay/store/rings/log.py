"""Records when keys of the rings were retired, by the server's clock. Raises what `store_errors` raises."""

from __future__ import annotations

from typing import Any

from relay.store.keys import keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.scripting.scripts import Scripts
from relay.store.server.clock import time_ms_at
from relay.store.server.errors import store_errors


def note_retired(client: Any, ring: str, key_id: str) -> None:
    """Record that a key of a ring is retired now."""
    field, now_ms = f"{ring}:retired:{key_id}", time_ms_at(client, SHARED_ROOT)
    Scripts(client).write(SHARED_ROOT, "HSET", keyspace.shared("promotions"), field, now_ms)


def retired_ms_ago(client: Any, ring: str, key_id: str) -> int:
    """Return how long ago a key was retired, in milliseconds; 0 if that was not recorded."""
    with store_errors():
        at_ms = client.hget(keyspace.shared("promotions"), f"{ring}:retired:{key_id}")
        return 0 if at_ms is None else max(0, time_ms_at(client, SHARED_ROOT) - int(at_ms))
