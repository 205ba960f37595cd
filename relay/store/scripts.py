"""Runs the Lua scripts as functions of the server, and loads them if the server lacks them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.cluster import RedisCluster
from redis.exceptions import ResponseError

from relay.errors import RelayError
from relay.store.connection import client_of
from relay.store.key_names import ROOT, SHARED_ROOT
from relay.store.library import PREFIX, library
from relay.store.replicas import Replicas, on_primary, primaries_of
from relay.store.server_errors import store_errors
from relay.store.unanswered import Unanswered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_UNKNOWN: Final = "Function not found"  # the server's message; it has no error code for this
_KNOWN: Final = "already exists"
#: Scripts whose writes have to be on replicas, if any are required, before the caller gets the reply.
_CONFIRMED: Final = frozenset({"accept", "claim", "settle", "advance", "replay_create"})
#: How many runs of one caller are at the server, the present one and the next; other callers wait for no more of them.
AHEAD: Final = 2


class Scripts:
    """Runs scripts by name on one client. Raises as `store_errors`."""

    def __init__(self, client: redis.Redis, replicas: int = 0) -> None:
        self._replicas = Replicas(client, replicas)
        self._client: Any = client  # redis-py's methods are half typed
        self._kept: list[Any] = []  # one per run that ever ran at the same time
        # fakeredis, which the unit tests use, has no connections; a cluster's client keeps its own per server.
        self._keeps_connections = type(client) is redis.Redis
        self._is_cluster = isinstance(client, RedisCluster)

    def run(self, name: str, args: Sequence[Any] = (), root: str | None = None) -> Any:
        """Run ``lua/<name>.lua`` with ``args``; load all scripts first if the server lacks it.

        ``root`` is the root of the script's keys; by default the shared one for scripts with shared keys, else the
        first partition's. All scripts are loaded, because a full server loads no more, and then needs those that free
        memory.
        """
        function = library().functions[name]
        root = root or (SHARED_ROOT if function.is_shared else ROOT)
        with store_errors():
            call = self._replicas.run if self._replicas.count and name in _CONFIRMED else self._call
            try:
                return call(function.name, root, args)
            except ResponseError as error:
                if str(error).rpartition(": ")[2] != _UNKNOWN:
                    raise
            on_primary(self._client, root, _load)
            return call(function.name, root, args)

    def run_in_turn(self, name: str, runs: Iterable[tuple[str, Sequence[Any]]]) -> Iterator[Any]:
        """Run a script several times, each time with a root and arguments; yield each reply, or a `RelayError`.

        The runs happen in order. While the server works on one, the next is taken from ``runs`` and sent. A run that
        fails is repeated by itself, so the script has to be one that may be repeated.
        """
        sent: deque[tuple[str, Sequence[Any]]] = deque()
        unanswered = Unanswered(self._take if self._may_send_ahead(name) else None)
        try:
            for root, args in runs:
                unanswered.send("FCALL", library().functions[name].name, 1, root, *args)
                sent.append((root, args))
                if len(sent) == AHEAD:
                    yield self._answer(unanswered, name, *sent.popleft())
            while sent:
                yield self._answer(unanswered, name, *sent.popleft())
        finally:
            client = unanswered.end()
            if client is not None:
                self._kept.append(client)

    def _may_send_ahead(self, name: str) -> bool:
        return self._keeps_connections and not (self._replicas.count and name in _CONFIRMED)

    def _answer(self, unanswered: Unanswered, name: str, root: str, args: Sequence[Any]) -> Any:
        try:
            return unanswered.receive()
        except Exception:  # noqa: BLE001 - running it again shows what the error means
            try:
                return self.run(name, args, root)
            except RelayError as error:
                return error

    def load(self) -> None:
        """Load the scripts into the server, or into every primary of a cluster, unless it has them."""
        for server in primaries_of(self._client):
            _load(server)

    def drop_others(self) -> None:
        """Delete the libraries of other versions; a process that still runs such a version loads its library again."""
        for server in primaries_of(self._client):
            for listed in server.function_list(library=f"{PREFIX}*"):
                fields = dict(zip(listed[::2], listed[1::2], strict=True)) if isinstance(listed, list) else listed
                name = fields[b"library_name"].decode()
                if name != library().name:
                    server.function_delete(name)

    def _call(self, function: str, root: str, args: Sequence[Any]) -> Any:
        """Call a function on a connection that is kept for the next call.

        Taking a connection from redis-py's pool costs as much as using it. A connection that raised an error is not
        kept.
        """
        if self._is_cluster:
            return on_primary(self._client, root, lambda server: server.fcall(function, 1, root, *args))
        if not self._keeps_connections:
            return self._client.fcall(function, 1, root, *args)
        client = self._take()
        reply = client.fcall(function, 1, root, *args)
        self._kept.append(client)
        return reply

    def _take(self) -> Any:
        try:
            return self._kept.pop()
        except IndexError:
            return self._client.client()


def _load(server: Any) -> None:
    try:
        server.function_load(library().text)
    except ResponseError as error:
        if _KNOWN not in str(error):
            raise


def renew(url: str) -> None:
    """Replace the scripts of a server that is not in use yet by those of this version."""
    with store_errors(), client_of(url) as client:
        runner = Scripts(client)
        runner.load()
        runner.drop_others()
