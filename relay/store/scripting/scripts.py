"""Runs the Lua scripts as functions of the server."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import ExponentialBackoff
from redis.cluster import RedisCluster
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as ServerSilent
from redis.retry import Retry

from relay.errors import RelayError, Unavailable
from relay.store.keys.names import ROOT, SHARED_ROOT
from relay.store.scripting.library import Kind, library
from relay.store.scripting.loading import are_unknown, load_into
from relay.store.server.errors import store_errors
from relay.store.server.pipelining import Unanswered
from relay.store.server.replicas import Replicas, on_primary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: A run that gets no answer is repeated twice: scripts may be, and so more of them learn what became of their calls.
_REPEATS: Final = Retry(ExponentialBackoff(cap=0.4, base=0.05), 2)
#: How many runs of one caller may be at the server: the present one and the next. Other callers wait for no more.
AHEAD: Final = 2
_UNANSWERED: Final = "The store gave no answer: what was asked for may or may not have happened."


class Scripts:
    """Runs scripts by name on one client. Raises what `store_errors` raises.

    A script that confirms something returns once the replicas that the client requires have it. If too few of them do,
    or the server was given the script and its reply was lost, `Unavailable` says that it may or may not have happened.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._replicas = Replicas(client)
        self._client: Any = client  # redis-py's methods are half typed
        self._kept: list[Any] = []  # one per run that ever ran at the same time
        # fakeredis, which the unit tests use, has no connections; a cluster's client keeps its own per server.
        self._keeps_connections = type(client) is redis.Redis
        self._is_cluster = isinstance(client, RedisCluster)

    def run(self, name: str, args: Sequence[Any] = (), root: str | None = None) -> Any:
        """Run ``lua/<name>.lua`` with ``args``.

        ``root`` is the root of the script's keys; by default the shared one for scripts with shared keys, else the
        first partition's. If the server lacks the script and the client's user may load scripts, all of them are
        loaded: a full server would load no more, and needs those that free memory. Otherwise `Unavailable` says so.
        """
        function = library().functions[name]
        root = root or (SHARED_ROOT if function.is_shared else ROOT)
        with store_errors():
            call = self._replicas.run if self._waits(name) else partial(self._call, function.kind)
            try:
                return call(function.name, root, args)
            except ResponseError as error:
                if not are_unknown(error):
                    raise
            on_primary(self._client, root, load_into)
            return call(function.name, root, args)

    def write(self, root: str, *command: Any) -> Any:
        """Run a command that writes one key below ``root``, and confirm it like a script that confirms."""
        with store_errors():
            return self._replicas.write(root, command) if self.waits else self._client.execute_command(*command)

    @property
    def waits(self) -> bool:
        """Whether scripts that confirm wait for replicas."""
        return self._replicas.count > 0

    def run_in_turn(self, name: str, runs: Iterable[tuple[str, Sequence[Any]]]) -> Iterator[Any]:
        """Run a script several times, each time with a root and arguments; yield each reply, or a `RelayError`.

        The runs happen in order. While the server works on one, the next is taken from ``runs`` and sent. A run that
        fails is repeated alone, so the script must be safe to repeat.
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

    def _waits(self, name: str) -> bool:
        return self.waits and library().functions[name].kind is Kind.CONFIRMS

    def _may_send_ahead(self, name: str) -> bool:
        return self._keeps_connections and not self._waits(name)

    def _answer(self, unanswered: Unanswered, name: str, root: str, args: Sequence[Any]) -> Any:
        try:
            return unanswered.receive()
        except Exception:  # noqa: BLE001 - running it again shows what the error means
            try:
                return self.run(name, args, root)
            except RelayError as error:
                return error

    def _call(self, kind: Kind, function: str, root: str, args: Sequence[Any]) -> Any:
        """Call a function on a connection that is kept for the next call.

        redis-py's pool and `execute_command`, which times each command for OpenTelemetry and locks the connection, cost
        as much as the rest. A connection that raised an error is not kept.
        """
        if self._is_cluster:
            return on_primary(self._client, root, lambda server: server.fcall(function, 1, root, *args))
        if not self._keeps_connections:
            return self._client.fcall(function, 1, root, *args)
        client = self._take()
        connection = client.connection
        is_lost = False

        def run() -> Any:
            nonlocal is_lost
            connection.send_command("FCALL", function, 1, root, *args)
            try:
                return connection.read_response()
            except (ConnectionLost, ServerSilent) as error:
                is_lost = is_lost or type(error) in (ConnectionLost, ServerSilent)  # the server's own are subclasses
                raise

        try:
            reply = _REPEATS.call_with_retry(run, lambda _error: connection.disconnect())
        except ResponseError:  # the caller reads it, and may repeat the run
            raise
        except RedisError as error:
            if is_lost and kind is Kind.CONFIRMS:
                raise _unanswered() from error
            raise
        if connection.should_reconnect():  # the server has said that it moves: the pool closes the connection
            client.close()
        else:
            self._kept.append(client)
        return reply

    def _take(self) -> Any:
        try:
            return self._kept.pop()
        except IndexError:
            return self._client.client()


def _unanswered() -> Unavailable:
    error = Unavailable()
    error.add(_UNANSWERED)
    return error
