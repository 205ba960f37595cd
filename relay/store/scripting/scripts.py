"""Runs the Lua scripts as functions of the server."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from relay.errors import RelayError
from relay.store.keys.names import ROOT, SHARED_ROOT
from relay.store.scripting.library import Kind, library
from relay.store.scripting.loading import are_unknown, load_into
from relay.store.server.errors import store_errors
from relay.store.server.exchange import Exchange
from relay.store.server.pipelining import Unanswered
from relay.store.server.replicas import Replicas, on_primary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: A run that gets no answer is repeated twice: scripts may be, and so more of them learn what became of their calls.
_REPEATS: Final = Retry(ExponentialBackoff(cap=0.4, base=0.05), 2)
#: How many runs of one caller may be at the server: the present one and the next. Other callers wait for no more.
AHEAD: Final = 2


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

    def run(self, name: str, args: Sequence[Any] = (), root: str | None = None, *, is_lost: bool = False) -> Any:
        """Run ``lua/<name>.lua`` with ``args``.

        ``root`` is the root of the script's keys; by default the shared one for scripts with shared keys, else the
        first partition's. If the server lacks the script and the client's user may load scripts, all of them are
        loaded: a full server would load no more, and needs those that free memory. Otherwise `Unavailable` says so.
        ``is_lost`` says that the server was given the same run before, and its reply was lost.
        """
        function = library().functions[name]
        root = root or (SHARED_ROOT if function.is_shared else ROOT)
        exchange = Exchange(confirms=function.kind is Kind.CONFIRMS, is_lost=is_lost)
        with store_errors(), exchange:
            call = self._replicas.run if self._waits(name) else self._call
            try:
                return call(exchange, function.name, root, args)
            except ResponseError as error:
                if not are_unknown(error):
                    raise
            on_primary(self._client, root, load_into)
            return call(exchange, function.name, root, args)

    def write(self, root: str, *command: Any) -> Any:
        """Run a command that writes one key below ``root``, and confirm it like a script that confirms."""
        exchange = Exchange(confirms=True)
        with store_errors(), exchange:
            if self.waits:
                return self._replicas.write(exchange, root, command)
            return self._once(exchange, root, command)

    @property
    def waits(self) -> bool:
        """Whether scripts that confirm wait for replicas."""
        return self._replicas.count > 0

    def run_in_turn(self, name: str, runs: Iterable[tuple[str, Sequence[Any]]]) -> Iterator[Any]:
        """Run a script several times, each time with a root and arguments; yield each reply, or a `RelayError`.

        The runs happen in order. While the server works on one, the next is taken from ``runs`` and sent. A run that
        fails is repeated alone, so the script must be safe to repeat.
        """
        sent: deque[partial[Any]] = deque()
        unanswered = Unanswered(self._take if self._may_send_ahead(name) else None)
        try:
            for root, args in runs:
                is_given = unanswered.send("FCALL", library().functions[name].name, 1, root, *args)
                sent.append(partial(self._answer, unanswered, name, root, args, is_given=is_given))
                if len(sent) == AHEAD:
                    yield sent.popleft()()
            while sent:
                yield sent.popleft()()
        finally:
            client = unanswered.end()
            if client is not None:
                self._kept.append(client)

    def _waits(self, name: str) -> bool:
        return self.waits and library().functions[name].kind is Kind.CONFIRMS

    def _may_send_ahead(self, name: str) -> bool:
        return self._keeps_connections and not self._waits(name)

    def _answer(self, unanswered: Unanswered, name: str, root: str, args: Sequence[Any], *, is_given: bool) -> Any:
        try:
            return unanswered.receive()
        except Exception as error:  # noqa: BLE001 - running it again shows what the error means
            try:
                return self.run(name, args, root, is_lost=is_given and not isinstance(error, ResponseError))
            except RelayError as refusal:
                return refusal

    def _call(self, exchange: Exchange, function: str, root: str, args: Sequence[Any]) -> Any:
        """Call a function on a connection that is kept for the next call.

        redis-py's pool and `execute_command`, which times each command for OpenTelemetry and locks the connection, cost
        as much as the rest. A connection that raised an error is not kept.
        """
        command = ("FCALL", function, 1, root, *args)
        if not self._keeps_connections:
            return self._once(exchange, root, command)
        client = self._take()
        connection = client.connection
        (reply,) = _REPEATS.call_with_retry(lambda: exchange.on(connection, command), lambda _error: None)
        if connection.should_reconnect():  # the server has said that it moves: the pool closes the connection
            client.close()
        else:
            self._kept.append(client)
        return reply

    def _once(self, exchange: Exchange, root: str, command: tuple[Any, ...]) -> Any:
        """Run a command on any connection of the server that has a root."""
        return on_primary(self._client, root, lambda server: exchange.through(server, command))[0]

    def _take(self) -> Any:
        try:
            return self._kept.pop()
        except IndexError:
            return self._client.client()
