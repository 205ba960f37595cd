"""Runs reading commands together; a key of an unexpected type costs only its own reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from relay.store.server.clock import add_time
from relay.store.server.errors import is_of_another_type, store_errors

if TYPE_CHECKING:
    from collections.abc import Iterable


def replies_to(client: Any, commands: Iterable[tuple[Any, ...]], *, time_of: str | None = None) -> list[Any]:
    """Return the reply to each command; for a key of another type, the error takes the place of its reply.

    ``time_of`` adds the time (`TIME`) of the server that has this root. Other errors are raised as by `store_errors`.
    """
    asked = list(commands)
    with store_errors():
        try:
            return _piped(client, asked, time_of).execute() if asked else []
        except ResponseError as error:
            if not is_of_another_type(error):
                raise
        # Without raising only this second time: redis-py follows a cluster's redirections only where errors are raised.
        replies: list[Any] = _piped(client, asked, time_of).execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception) and not is_of_another_type(reply):
                raise reply
        return replies


def _piped(client: Any, commands: Iterable[tuple[Any, ...]], time_of: str | None) -> Any:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    if time_of is not None:
        add_time(pipeline, client, time_of)
    return pipeline
