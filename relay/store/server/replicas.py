"""Waits until replicas have what was written, so that a promoted replica lacks nothing that was confirmed to anybody.

A command and its `WAIT` go to one server on one connection, and are repeated together: a server that took over in
between would confirm writes that it never received. `WAIT` covers only the last write of its own connection, and a
repeated script writes nothing, so each run also writes a small key. The script itself does so, because a full server
refuses a separate command. If that write is refused, nothing is confirmed.
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
from relay.store.keys.names import CONFIRMED
from relay.store.server.availability import NotAskedError, is_silent, waiting_longer
from relay.store.server.errors import store_errors
from relay.store.server.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import redis

#: How long, in milliseconds, `WAIT` waits for enough replicas.
WAIT_MS: Final = 1_000
#: How long, in milliseconds, the small key is kept.
KEPT_MS: Final = 60_000
_TRIES: Final = 3
_PAUSE_S: Final = 0.1
#: For how many seconds a server with too few replicas is not tried again: each try takes as long as `WAIT`.
_TOO_FEW_S: Final = 1.0
_ASK_AGAIN_S: Final = 1.0
#: When each client of a cluster last asked for the primaries because one did not answer.
_ASKED: Final[WeakKeyDictionary[Any, float]] = WeakKeyDictionary()
_TOO_FEW: Final = "Too few replicas of the store confirm writes: what was asked for may or may not have happened."


#: How many replicas each client requires.
_REQUIRED: Final[WeakKeyDictionary[Any, int]] = WeakKeyDictionary()
#: Until when each server counts as having too few.
_TOO_FEW_UNTIL_S: Final[WeakKeyDictionary[Any, float]] = WeakKeyDictionary()


def require_replicas(client: redis.Redis, count: int) -> None:
    """Make a client confirm only what ``count`` replicas have (`Replicas`)."""
    _REQUIRED[client] = count
    _TOO_FEW_UNTIL_S.clear()  # whoever begins to require them asks every server


class Replicas:
    """Runs what must be confirmed by as many replicas as the client requires; by default it requires none."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client
        #: How many replicas have to confirm; 0: nothing waits.
        self.count = _REQUIRED.get(client, 0)

    def run(self, exchange: Exchange, function: str, root: str, args: Sequence[Any]) -> Any:
        """Run a function that confirms; return once enough replicas have what it wrote. Raises `Unavailable`.

        The function is given the name of the small key, and writes it.
        """
        return self._confirmed(exchange, root, ("FCALL", function, 2, root, root + CONFIRMED, *args))

    def write(self, exchange: Exchange, root: str, command: Sequence[Any]) -> Any:
        """Run a writing command in the same way."""
        return self._confirmed(exchange, root, tuple(command), _small(root))

    def confirm(self, root: str) -> None:
        """Return once enough replicas have all that the root's server has written. Raises `Unavailable`."""
        if self.count:
            exchange = Exchange(confirms=True)
            with store_errors(), exchange:
                self._confirmed(exchange, root, _small(root))

    def _confirmed(self, exchange: Exchange, root: str, *commands: tuple[Any, ...]) -> Any:
        return on_primary(self._client, root, lambda server: self._run(exchange, server, commands))

    def _run(self, exchange: Exchange, server: Any, commands: Sequence[tuple[Any, ...]]) -> Any:
        """Run commands and `WAIT` on one connection; return the first reply."""
        if time.monotonic() < _TOO_FEW_UNTIL_S.get(server, 0.0):
            raise Unavailable(_TOO_FEW)
        with waiting_longer(WAIT_MS / 1000):
            replies = exchange.through(server, *commands, ("WAIT", self.count, WAIT_MS))
        if int(replies[-1]) < self.count:
            _TOO_FEW_UNTIL_S[server] = time.monotonic() + _TOO_FEW_S
            raise Unavailable(_TOO_FEW)
        return replies[0]


def _small(root: str) -> tuple[Any, ...]:
    """Return the command that writes the small key."""
    return ("SET", root + CONFIRMED, 1, "PX", KEPT_MS)


def on_primary(client: Any, root: str, act: Callable[[Any], Any]) -> Any:
    """Run ``act`` on the server that has a root; in a cluster, repeat it if the root has moved to another server.

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
            if primary_of(client, root) is primary:
                raise  # it would keep us waiting for as long again
        except (MovedError, ClusterDownError, ServerGone):
            time.sleep(_PAUSE_S)
            refresh_primaries(client, at_most_once_in_s=0.0)
    return act(primary_of(client, root))


def refresh_primaries(client: Any, *, at_most_once_in_s: float) -> None:
    """Ask a cluster for its primaries, unless that was done in the last ``at_most_once_in_s`` seconds."""
    now_s = time.monotonic()
    if isinstance(client, RedisCluster) and now_s - _ASKED.get(client, 0.0) >= at_most_once_in_s:
        _ASKED[client] = now_s
        cast("Any", client).nodes_manager.initialize()


def primary_of(client: Any, key: str) -> Any:
    """Return a client of the one server that has a key."""
    if not isinstance(client, RedisCluster):
        return client
    return client.get_redis_connection(cast("Any", client).get_node_from_key(key))


def check_not_silent(client: Any, root: str) -> None:
    """Raise `Unavailable`, without asking it, if a root's server has just kept somebody waiting in vain."""
    with store_errors():
        node = cast("Any", client).get_node_from_key(root) if isinstance(client, RedisCluster) else None
    if node is not None and is_silent(node.host, int(node.port)):
        raise Unavailable


def primaries_of(client: Any) -> list[Any]:
    """Return a client of every server that takes writes."""
    if not isinstance(client, RedisCluster):
        return [client]
    return [client.get_redis_connection(node) for node in cast("Any", client).get_primaries()]
