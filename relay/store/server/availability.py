"""Tracks whether each server of a cluster answers, so that a silent one holds up only calls that need it.

A request to a silent server waits for the socket's time limit, several times over; soon every thread of an API process
and every task of a worker would be waiting. So once a server has kept a connection waiting for too long, only one
connection at a time asks it, and the others fail at once. Nobody who waited until the time limit waits again.

Callers that can do without a server (`going_on_without`) wait for a shorter time; if they wait in vain, that does not
count for callers that need the server.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.connection import Connection, SSLConnection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as ServerSilent

from relay.store.scripting.packing import SCRIPT_PACKER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

T = TypeVar("T")

#: How long callers that can do without a server wait for it, in seconds.
SHORT_S: Final = 0.5
#: For how many seconds such callers leave out a server that has kept one of them waiting that long; no longer than an
#: API key is used without asking (`relay.store.api_keys.keys.KEY_AGE_S`), or a revocation would take effect later.
LEFT_OUT_S: Final = 1.0
#: The same for a command, which waits for a silent server only once.
LEFT_OUT_BY_COMMANDS_S: Final = 10.0
#: How long a server may keep one connection waiting before others stop asking it; longer than `WAIT`'s one second.
PATIENCE_S: Final = 2.0
#: How long nobody asks a server after a time-out: redis-py repeats a request at once, and would wait as long again.
PAUSE_S: Final = 1.0
#: Longer than any socket waits: a connection that seems to wait for longer was abandoned without notice.
GONE_S: Final = 10.0
#: Commands after which a connection waits for messages, which may never come.
_LISTENING: Final = frozenset({"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"})


#: How long, in seconds, the present caller waits for a server; None if it needs the answer.
_short_s: ContextVar[float | None] = ContextVar("short_s", default=None)
_left_out_s: ContextVar[float] = ContextVar("left_out_s", default=LEFT_OUT_S)


def going_on_without(within_s: float = SHORT_S) -> AbstractContextManager[None]:
    """Within the context, wait no longer than this for each server of a cluster: the caller can do without it.

    Other servers are waited for as usual.
    """
    return _setting(_short_s, within_s)


def patience_s() -> float:
    """Return how many seconds the present caller waits for others that wait for a server; -1 for as long as they do."""
    return _short_s.get() or -1.0


def leaving_out_longer() -> AbstractContextManager[None]:
    """Within the context, leave silent servers out for `LEFT_OUT_BY_COMMANDS_S`."""
    return _setting(_left_out_s, LEFT_OUT_BY_COMMANDS_S)


def waiting_longer(more_s: float) -> AbstractContextManager[None]:
    """Within the context, extend the time of `going_on_without`, if set: the server itself waits before it answers."""
    short_s = _short_s.get()
    return _setting(_short_s, None if short_s is None else short_s + more_s)


@contextmanager
def _setting(variable: ContextVar[T], value: T) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


class NotAskedError(ServerSilent):
    """The server was not asked, because another connection is waiting for it in vain, or has just done so."""


class WaitingConnections:
    """The connections that wait for one server's answer.

    Safe for threads and greenlets: each step is one operation on a dict.
    """

    def __init__(self) -> None:
        self._waiting: dict[object, float] = {}  # since when each waits, longest wait first
        self._failed = False  # the last connection that waited got no answer
        self._answered_s = 0.0  # when the server last answered any connection
        self._paused_until_s = 0.0
        self._left_out_until_s = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether the server has just kept somebody waiting in vain."""
        return time.monotonic() < max(self._paused_until_s, self._left_out_until_s)

    def begin_wait(self, connection: object) -> None:
        """Note that a connection begins to wait; raise `NotAskedError` if one is waiting in vain, or just has."""
        now_s = time.monotonic()
        is_left_out = now_s < self._left_out_until_s and _short_s.get() is not None
        if now_s < self._paused_until_s or is_left_out:
            raise NotAskedError("The server did not answer the last request in time.")
        others = [(other, since_s) for other, since_s in tuple(self._waiting.items()) if other is not connection]
        for other, since_s in others:
            if now_s - since_s > GONE_S:
                self._waiting.pop(other, None)
            elif self._failed or now_s - since_s > PATIENCE_S:
                raise NotAskedError("The server does not answer, and another connection already waits for it.")
            else:
                break
        self._waiting[connection] = now_s

    def pause_wait(self, connection: object) -> None:
        """Note that nobody is reading the answer yet: the server may have sent it long ago."""
        self._waiting.pop(connection, None)

    def resume_wait(self, connection: object) -> None:
        """Note that a connection that `begin_wait` let through is now reading its answer."""
        self._waiting[connection] = time.monotonic()

    def answered(self, connection: object) -> None:
        """Note an answer: the server is available."""
        self._failed = False
        self._answered_s = time.monotonic()
        self._paused_until_s = self._left_out_until_s = 0.0
        self._waiting.pop(connection, None)

    def timed_out(self, connection: object, since_s: float) -> None:
        """Note that a connection has waited in vain, so that for a moment nobody asks the server.

        If it waited only for a short time, callers that can do without the server leave it out; others ask it as
        before. ``since_s`` is when it began to wait, on the monotonic clock. If the server has answered others
        meanwhile, only this connection was lost, and the server is asked as before.
        """
        if self._answered_s <= since_s:
            self._left_out_until_s = time.monotonic() + _left_out_s.get()
            if _short_s.get() is None:
                self._paused_until_s = time.monotonic() + PAUSE_S
        self.gave_up(connection)

    def gave_up(self, connection: object) -> None:
        """Note that a connection stopped waiting without an answer."""
        if self._waiting.pop(connection, None) is not None and _short_s.get() is None:
            self._failed = True


#: By host and port: all clients of a process share what is known about a server.
_BY_SERVER: Final[dict[tuple[str, int], WaitingConnections]] = {}


def is_silent(host: str, port: int) -> bool:
    """Return whether a server has just kept somebody waiting in vain."""
    known = _BY_SERVER.get((host, port))
    return known is not None and known.is_silent


class _Patient:
    """Notes in `WaitingConnections` when a connection starts and stops waiting for its server."""

    socket_connect_timeout: float | None

    def __init__(self, **options: Any) -> None:
        self._waiting = _BY_SERVER.setdefault((options["host"], int(options["port"])), WaitingConnections())
        self._listens = False
        super().__init__(**{"command_packer": SCRIPT_PACKER, **options})

    def connect_check_health(self, *args: Any, **options: Any) -> None:
        if self.is_connected:  # type: ignore[attr-defined]
            return
        self._waiting.begin_wait(self)
        since_s, limit_s = time.monotonic(), self.socket_connect_timeout
        self.socket_connect_timeout = _short_s.get() or limit_s
        try:
            super().connect_check_health(*args, **options)  # type: ignore[misc]
        except NotAskedError:
            raise
        except ServerSilent:
            self._waiting.timed_out(self, since_s)
            raise
        finally:
            self.socket_connect_timeout = limit_s
            self._waiting.pause_wait(self)

    def send_command(self, *args: Any, **options: Any) -> None:
        self._listens = self._listens or args[0] in _LISTENING
        super().send_command(*args, **options)  # type: ignore[misc]

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._listens:
            super().send_packed_command(command, check_health)  # type: ignore[misc]
            return
        self._waiting.begin_wait(self)
        super().send_packed_command(command, check_health)  # type: ignore[misc]
        # A pipeline sends to several servers, and then reads from one after another: only that one makes it wait.
        self._waiting.pause_wait(self)

    def read_response(self, *args: Any, **options: Any) -> Any:
        if not self._listens:
            self._waiting.resume_wait(self)
            if short_s := _short_s.get():
                options["timeout"] = short_s
        since_s = time.monotonic()
        try:
            reply = super().read_response(*args, **options)  # type: ignore[misc]
        except ResponseError:  # an error is an answer, too
            self._waiting.answered(self)
            raise
        except ServerSilent:
            if not self._listens:
                self._waiting.timed_out(self, since_s)
            raise
        self._waiting.answered(self)
        return reply

    def disconnect(self, *args: Any) -> None:
        self._listens = False
        self._waiting.gave_up(self)
        super().disconnect(*args)  # type: ignore[misc]


class PatientConnection(_Patient, Connection):
    """A plain connection to a server of a cluster."""


class PatientSslConnection(_Patient, SSLConnection):
    """A TLS connection to a server of a cluster."""
