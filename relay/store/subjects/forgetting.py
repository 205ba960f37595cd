"""The store's side of forgetting a subject: a job that workers and the command that began it go on with, in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay.audit.actor import actor
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import key_in, partition_root
from relay.store.scripting.scripts import Scripts
from relay.store.server.clock import time_ms_at
from relay.store.server.errors import store_errors

if TYPE_CHECKING:
    from redis import Redis

#: How many records one run of the script looks at: the server does nothing else meanwhile.
PIECE: Final = 250
#: How long, in milliseconds, until one that has not ended is looked at again.
LATER_MS: Final = 1_000


class Progress(NamedTuple):
    """How far a job is. Everything is forgotten when it is done; ``unfinished`` are left then, or to be looked at."""

    done: bool
    walked: bool  # it has looked at everything that there was when it began
    looked: int
    total: int  # how many there were when it began
    forgotten: int
    unfinished: int


class Forgetting:
    """Jobs that forget subjects, which are given as keyed hashes. Raises `Unavailable` while the server is away."""

    def __init__(self, client: Redis, keys: Keyspace = SINGLE) -> None:
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = Scripts(client)
        self._keys = keys

    def begin(self, plugin: str, subject: str) -> None:
        """Begin to forget a subject, unless a job is doing so; from then on workers go on with it."""
        self._scripts.run("forget_begin", [plugin, subject, actor()], self._keys.root(plugin))

    def go_on(self, plugin: str, subject: str, limit: int = PIECE) -> Progress:
        """Look at up to ``limit`` invocations, and forget those that have ended; return how far the job is then."""
        reply = self._scripts.run("forget_piece", [plugin, subject, limit, LATER_MS], self._keys.root(plugin))
        done, walked, *counts = reply
        return Progress(done == b"1", walked == b"1", *map(int, counts))

    def due(self, partition: int, limit: int) -> list[tuple[str, str]]:
        """Return up to ``limit`` jobs of a partition that are to be gone on with now, as plugin and subject."""
        with store_errors():
            jobs = self._client.zrange(key_in(partition_root(partition), "forgettings"), 0, limit - 1, withscores=True)
            now_ms = time_ms_at(self._client, partition_root(partition)) if jobs else 0
        # One whose time is further ahead than any was set: the clock has gone back.
        names = [job.decode().partition("/") for job, at_ms in jobs if not now_ms < at_ms <= now_ms + LATER_MS]
        return [(plugin, subject) for plugin, _, subject in names]
