"""Keeps the list of finished invocations whose callback has not been sent yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay.domain.invocation import is_error
from relay.store.keys.names import key_in, partition_root
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import store_errors
from relay.store.server.fields import WHOLE, tell_damage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

#: How long the ends that one worker took are withheld from others, in milliseconds.
HOLD_MS: Final = 10_000


class End(NamedTuple):
    """How an invocation ended, and which webhook is its callback."""

    reference_id: str
    plugin: str
    callback: str
    status: int
    error: bool
    finished_at_ms: int
    webhook_id: str
    revision: int


class Callbacks:
    """Finished invocations whose callback is not sent. Every method raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, *, ends_restore: bool = False) -> None:
        self._ends_restore = ends_restore  # in a command that ends a restore: it takes from fenced partitions too
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = Scripts(client)

    def take(self, partition: int, limit: int) -> list[End]:
        """Return up to ``limit`` ends of a partition; each is returned again after `HOLD_MS` unless it is deleted."""
        args = [HOLD_MS, limit, int(self._ends_restore)]
        rows = self._scripts.run("callbacks", args, partition_root(partition))
        return [end for row in rows if (end := _end_from(row)) is not None]

    def delete(self, partition: int, reference_ids: Sequence[str]) -> None:
        """Delete ends of a partition, whose callbacks were sent or must not be."""
        if reference_ids:
            with store_errors():
                self._client.zrem(key_in(partition_root(partition), "callbacks"), *reference_ids)


def _end_from(row: Sequence[bytes]) -> End | None:
    """Read an end; None if its record is damaged."""
    try:
        ref, plugin, callback, state, status, error, finished_at, webhook, revision = (each.decode() for each in row)
        failed = is_error(state, error == "1" if error else None)
        return End(ref, plugin, callback, int(status or 0), failed, int(finished_at), webhook, int(revision))
    except ValueError:
        tell_damage(row[0].decode("utf-8", "backslashreplace"), WHOLE)
        return None
