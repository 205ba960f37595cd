"""Waits until replicas have what was written, so that a promoted replica lacks nothing that a caller was told.

A command and its `WAIT` go to one server on one connection, and are repeated together: a server that took over in
between would confirm writes that it never received. `WAIT` covers only the last write of its own connection, and a
repeated script writes nothing; so a small key is written between the two.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

from redis.cluster import RedisCluster
from redis.exceptions import ClusterDownError, MovedError
from redis.exceptions import ConnectionError as ServerGone
from redis.exceptions import TimeoutError as ServerSilent

from relay.errors import Unavailable
from relay.store.answering import NotAskedError
from relay.store.key_names import key_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import redis

#: How long, in milliseconds, `WAIT` waits for enough replicas.
WAIT_MS: Final = 1_000
_KEPT_MS: Final = 60_000
_TRIES: Final = 3
_PAUSE_S: Final = 0.1
#: How long, in seconds, a partition with too few replicas is not tried again: each try takes as long as `WAIT`.
_TOO_FEW_S: Final = 1.0
_ASK_AGAIN_S: Final = 1.0
#: When each client of a cluster last asked for the primaries because one did not answer.
_ASKED: Final[WeakKeyDictionary[Any, float]] = WeakKeyDictionary()
_TOO_FEW: Final = "Too few replicas of the store have confirmed what was written."


class Replicas:
    """Runs commands, and waits until ``count`` replicas of the partition's server have the writes; 0: never waits."""

    def __init__(self, client: redis.Redis, count: int) -> None:
        self._client: Any = client
        self.count = count
        self._too_few_until_s: dict[str, float] = {}  # by root

    def run(self, function: str, root: str, args: Sequence[Any]) -> Any:
        """Run a function of the server; return once enough replicas have what it wrote. Raises `Unavailable`."""
        return self._confirmed(root, lambda pipeline: pipeline.fcall(function, 1, root, *args))[0]

    def confirm(self, root: str) -> None:
        """Return once enough replicas have all that the root's server has written. Raises `Unavailable`."""
        self._confirmed(root, lambda _: None)

    def have_field(self, root: str, records: Iterable[str], field: str) -> list[bool]:
        """Return for each of these hashes below a root whether it has a field, also on enough replicas.

        Raises `Unavailable`.
        """

        def ask(pipeline: Any) -> None:
            for record in records:
                pipeline.hexists(record, field)

        return [bool(found) for found in self._confirmed(root, ask)]

    def _confirmed(self, root: str, command: Callable[[Any], object]) -> list[Any]:
        if time.monotonic() < self._too_few_until_s.get(root, 0.0):
            raise Unavailable(_TOO_FEW)
        return cast("list[Any]", on_primary(self._client, root, lambda server: self._run(server, root, command)))

    def _run(self, server: Any, root: str, command: Callable[[Any], object]) -> list[Any]:
        pipeline = server.pipeline(transaction=False)
        command(pipeline)
        pipeline.set(key_in(root, "confirmed"), 1, px=_KEPT_MS)
        pipeline.execute_command("WAIT", self.count, WAIT_MS)
        replies: list[Any]
        *replies, _, confirmed = pipeline.execute(raise_on_error=False)
        for reply in (*replies, confirmed):
            if isinstance(reply, Exception):
                raise reply
        if int(confirmed) < self.count:
            self._too_few_until_s[root] = time.monotonic() + _TOO_FEW_S
            raise Unavailable(_TOO_FEW)
        return replies


def on_primary(client: Any, root: str, act: Callable[[Any], Any]) -> Any:
    """Run ``act`` on the server that has a root; in a cluster, repeat it if another server has the root by now.

    While a slot is moved key by key, its server answers `ASK` to scripts, because the key that they name, the root
    itself, never exists. That answer is not followed: on the other server a script would find only the keys moved so
    far.
    """
    for _ in range(_TRIES - 1):
        primary = primary_of(client, root)
        try:
            return act(primary)
        except ServerSilent as error:
            refresh_primaries(client, at_most_once_in_s=_ASK_AGAIN_S if isinstance(error, NotAskedError) else 0.0)
            if primary_of(client, root) is primary and isinstance(client, RedisCluster):
                raise  # it would keep us waiting for as long again
        except (MovedError, ClusterDownError, ServerGone):
            time.sleep(_PAUSE_S)
            refresh_primaries(client, at_most_once_in_s=0.0)
    return act(primary_of(client, root))


def refresh_primaries(client: Any, *, at_most_once_in_s: float) -> None:
    """Ask a cluster for its primaries, unless that was done within ``at_most_once_in_s``."""
    now_s = time.monotonic()
    if isinstance(client, RedisCluster) and now_s - _ASKED.get(client, 0.0) >= at_most_once_in_s:
        _ASKED[client] = now_s
        cast("Any", client).nodes_manager.initialize()


def primary_of(client: Any, key: str) -> Any:
    """Return a client of the one server that has a key."""
    if not isinstance(client, RedisCluster):
        return client
    node = cast("Any", client).get_node_from_key(key)
    if node is None:
        raise Unavailable
    return client.get_redis_connection(node)


def primaries_of(client: Any) -> list[Any]:
    """Return a client of every server that takes writes."""
    if not isinstance(client, RedisCluster):
        return [client]
    return [client.get_redis_connection(node) for node in cast("Any", client).get_primaries()]
