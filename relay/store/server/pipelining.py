"""Sends commands on one connection before the server has answered earlier ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable


class Unanswered:
    """The commands of one connection that have no reply yet. After any connection error, nothing more is sent on it.

    ``connect`` returns a redis-py client with a connection of its own; without one, every command counts as lost.
    """

    def __init__(self, connect: Callable[[], Any] | None) -> None:
        self._connect = connect
        self._client: Any = None
        self._count = 0

    def send(self, *command: Any) -> bool:
        """Send a command; return whether it was sent. Errors are raised by `receive`."""
        if self._connect is None:
            return False
        try:
            self._client = self._client or self._connect()
            self._client.connection.send_command(*command, check_health=not self._count)
            self._count += 1
        except Exception:  # noqa: BLE001 - treated like a lost reply
            self._lose()
            return False
        return True

    def receive(self) -> Any:
        """Return the reply to the first of the commands, or raise its error, whether the server's or redis-py's."""
        if self._client is None:
            raise ConnectionLost
        try:
            reply = self._client.connection.read_response()
        except ResponseError:
            self._count -= 1
            raise
        except BaseException:
            self._lose()
            raise
        self._count -= 1
        return reply

    def end(self) -> Any:
        """Return the client for reuse; None if there is none, or its connection cannot be used again."""
        if self._count:
            self._lose()
        return self._client

    def _lose(self) -> None:
        if self._client is not None:
            self._client.connection.disconnect()
        self._client = self._connect = None
