"""Whether each server of a cluster answers, so that one that stands still holds up nobody but those who need it.

Whoever asks a silent server would wait for the socket's time limit, several times over: soon every thread of an API
process and every task of a worker would. So a server that has let somebody wait for too long is asked by one at a time,
and others are told at once that it is silent.
"""

from __future__ import annotations

import time
from typing import Any, Final

from redis.connection import Connection, SSLConnection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as ServerSilent

#: Above the second that a server may wait for its replicas (`WAIT`).
PATIENCE_S: Final = 2.0
#: Above what a socket waits: whoever seems to wait for longer has gone without a word.
GONE_S: Final = 10.0
#: What turns a connection into one that waits for messages, which may never come.
_LISTENING: Final = frozenset({"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"})


class NotAskedError(ServerSilent):
    """The server was not asked: others wait for it in vain."""


class Answers:
    """Who waits for one server's answer. For threads and greenlets: each step is one operation on a dict."""

    def __init__(self) -> None:
        self._waiting: dict[object, float] = {}  # since when, the longest first
        self._failed = False  # the last who waited got nothing

    def ask(self, who: object) -> None:
        """Note that somebody begins to wait; raises `NotAskedError` where that would be in vain."""
        now_s = time.monotonic()
        others = [(other, since_s) for other, since_s in tuple(self._waiting.items()) if other is not who]
        for other, since_s in others:
            if now_s - since_s > GONE_S:
                self._waiting.pop(other, None)
            elif self._failed or now_s - since_s > PATIENCE_S:
                raise NotAskedError("The server is silent, and somebody asks it already.")
            else:
                break
        self._waiting[who] = now_s

    def waits(self, who: object) -> None:
        """Note that somebody who was let through waits from now on: what it had to ask before was answered."""
        self._waiting[who] = time.monotonic()

    def answered(self, who: object) -> None:
        """Note an answer, which shows that the server is well."""
        self._failed = False
        self._waiting.pop(who, None)

    def gave_up(self, who: object) -> None:
        """Note that somebody no longer waits, and got no answer."""
        if self._waiting.pop(who, None) is not None:
            self._failed = True


#: By host and port; what is known of a server holds for all clients of a process.
_ANSWERING: Final[dict[tuple[str, int], Answers]] = {}


class _Patient:
    """Notes in `Answers` when a connection begins and ends to wait for its server."""

    def __init__(self, **options: Any) -> None:
        self._answering = _ANSWERING.setdefault((options["host"], int(options["port"])), Answers())
        self._listens = False
        super().__init__(**options)

    def send_command(self, *args: Any, **options: Any) -> None:
        self._listens = self._listens or args[0] in _LISTENING
        super().send_command(*args, **options)  # type: ignore[misc]

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._listens:
            super().send_packed_command(command, check_health)  # type: ignore[misc]
            return
        self._answering.ask(self)
        super().send_packed_command(command, check_health)  # type: ignore[misc]
        self._answering.waits(self)  # to connect, or to see that a connection still is one, asks as well

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            reply = super().read_response(*args, **options)  # type: ignore[misc]
        except ResponseError:  # which is an answer, too
            self._answering.answered(self)
            raise
        self._answering.answered(self)
        return reply

    def disconnect(self, *args: Any) -> None:
        self._listens = False
        self._answering.gave_up(self)
        super().disconnect(*args)  # type: ignore[misc]


class PatientConnection(_Patient, Connection):
    """A connection to a server of a cluster."""


class PatientSslConnection(_Patient, SSLConnection):
    """A connection by TLS to a server of a cluster."""
