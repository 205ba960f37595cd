"""The store's side of forgetting a subject: a job that workers, and the command that began it, carry out in pieces."""

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

#: How many records one run of the script examines: the server does nothing else meanwhile.
PIECE: Final = 250
#: After how many milliseconds an invocation that had not ended is examined again.
LATER_MS: Final = 1_000


class Progress(NamedTuple):
    """How far a job has come. When it is done, everything is forgotten; ``unfinished`` are to be examined again."""

    done: bool
    walked: bool  # it has examined everything that there was when it began
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
        """Begin to forget a subject, unless a job is doing so already; from then on, workers carry it out."""
        self._scripts.run("forget_begin", [plugin, subject, actor()], self._keys.root(plugin))

    def go_on(self, plugin: str, subject: str, limit: int = PIECE) -> Progress:
        """Examine up to ``limit`` invocations, and forget those that have ended; return how far the job has come."""
        reply = self._scripts.run("forget_piece", [plugin, subject, limit, LATER_MS], self._keys.root(plugin))
        done, walked, *counts = reply
        return Progress(done == b"1", walked == b"1", *map(int, counts))

    def due(self, partition: int, limit: int) -> list[tuple[str, str]]:
        """Return up to ``limit`` jobs of a partition that are to be continued now, as plugin and subject."""
        with store_errors():
            jobs = self._client.zrange(key_in(partition_root(partition), "forgettings"), 0, limit - 1, withscores=True)
            now_ms = time_ms_at(self._client, partition_root(partition)) if jobs else 0
        # If a job's time is further ahead than any is ever set, the clock has gone back.
        names = [job.decode().partition("/") for job, at_ms in jobs if not now_ms < at_ms <= now_ms + LATER_MS]
        return [(plugin, subject) for plugin, _, subject in names]
