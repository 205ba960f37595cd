"""Reads the entries of a chain from their server, and which run of the server has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from relay.store.keys import keyspace
from relay.store.server.errors import is_of_another_type
from relay.store.server.fields import WHOLE, tell_damage
from relay.store.server.replicas import on_primary

if TYPE_CHECKING:
    from redis import Redis


class StoredChain:
    """The chain of one root, as its server has it. A key of another type is an empty chain."""

    def __init__(self, client: Redis, root: str) -> None:
        self._client: Any = client
        self._root = root
        self._name = keyspace.decisions(root)
        self._tells_run = True  # False: the server does not know the command, or does not allow it

    def read(self, start: int) -> tuple[bytes | None, list[bytes], str]:
        """Read the entry before ``start``, those from there on, and the id of the server's run.

        The id changes when another server takes over. It is empty if the server does not tell, or may not be asked.
        """
        found: tuple[bytes | None, list[bytes], str] = on_primary(
            self._client, self._root, lambda server: self._read(server, start)
        )
        return found

    def _read(self, server: Any, start: int) -> tuple[bytes | None, list[bytes], str]:
        pipeline = server.pipeline(transaction=True)
        pipeline.lindex(self._name, start - 1)
        pipeline.lrange(self._name, start, -1)
        if self._tells_run:
            pipeline.execute_command("INFO", "server")
        try:
            replies = pipeline.execute(raise_on_error=False)
        except ResponseError:
            if not self._tells_run:
                raise
            self._tells_run = False
            try:
                return self._read(server, start)
            except ResponseError:  # that was not the reason
                self._tells_run = True
                raise
        run = str(replies[2].get("run_id", "")) if self._tells_run else ""
        faults = [reply for reply in replies if isinstance(reply, Exception)]
        if not faults:
            return replies[0], replies[1], run
        if not is_of_another_type(faults[0]):
            raise faults[0]
        tell_damage(self._name, WHOLE)
        return None, [], run
