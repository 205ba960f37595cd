"""Commands that were sent on one connection before the server had answered those before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hiredis import pack_command
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable


class Unanswered:
    """The commands of one connection that have no reply yet. After anything but a reply nothing more is sent on it.

    ``connect`` gives a client of redis-py with a connection of its own; without it every command counts as lost.
    """

    def __init__(self, connect: Callable[[], Any] | None) -> None:
        self._connect = connect
        self._client: Any = None
        self._count = 0

    def send(self, *command: Any) -> None:
        """Send a command. Whether that went well is said by `receive`."""
        if self._connect is None:
            return
        try:
            self._client = self._client or self._connect()
            self._client.connection.send_packed_command([pack_command(command)], check_health=not self._count)
            self._count += 1
        except Exception:  # noqa: BLE001 - the same as if its reply were lost
            self._lose()

    def receive(self) -> Any:
        """Return the reply to the first of them; raises what the server or redis-py has against it."""
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
        """Return the client for others to use; None where its connection cannot be used again."""
        if self._count:
            self._lose()
        return self._client

    def _lose(self) -> None:
        if self._client is not None:
            self._client.connection.disconnect()
        self._client = self._connect = None
        self._count = 0
