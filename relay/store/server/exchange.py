"""Asks a server, and knows afterwards whether it may have done what it was asked for although its reply was lost."""

from __future__ import annotations

from typing import Any, Final

from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as ServerSilent

from relay.errors import RelayError, Unavailable
from relay.store.server.errors import is_ours

_UNANSWERED: Final = "The store gave no answer: what was asked for may or may not have happened."


class Exchange:
    """One thing that a caller asks for, as often as that is repeated.

    As a context, it turns errors of what confirms something into `Unavailable` that says that it may have happened, if
    a server was given it and its reply was lost.
    """

    def __init__(self, *, confirms: bool, is_lost: bool = False) -> None:
        self._confirms = confirms
        self._is_lost = is_lost

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not self._is_lost or not self._confirms or not isinstance(error, Exception):
            return
        if not isinstance(error, RelayError) and not is_ours(error):  # a cluster's client raises more than `RedisError`
            raise Unavailable(f"{Unavailable.sentence} {_UNANSWERED}") from error

    def on(self, connection: Any, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands, and return their replies; close the connection if anything is wrong."""
        try:
            if len(commands) == 1:
                connection.send_command(*commands[0])
            else:
                connection.send_packed_command(connection.pack_commands(commands))
            replies = [self._reply(connection)]
            try:
                while len(replies) < len(commands):
                    replies.append(self._reply(connection))
            except RedisError:
                self._is_lost = True  # the first was done, and is not confirmed
                raise
        except BaseException:
            connection.disconnect()
            raise
        return replies

    def through(self, server: Any, *commands: tuple[Any, ...]) -> list[Any]:
        """Do the same on a connection of a client's pool."""
        pool = server.connection_pool
        connection = pool.get_connection()
        try:
            return self.on(connection, *commands)
        finally:
            pool.release(connection)

    def _reply(self, connection: Any) -> Any:
        try:
            return connection.read_response()
        except (ConnectionLost, ServerSilent) as error:
            self._is_lost |= type(error) in (ConnectionLost, ServerSilent)  # the server's own are subclasses
            raise
