"""Runs the Lua scripts: the server's functions of those names, which are loaded where the server lacks them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis
from redis.exceptions import ResponseError

from relay.store.key_names import SHARED_ROOT
from relay.store.keyspace import ROOT
from relay.store.library import PREFIX, library, scripts
from relay.store.old_names import rename_old_keys
from relay.store.server_errors import store_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Scripts", "renew", "store_errors"]

_UNKNOWN: Final = "Function not found"  # the server's words; it has no error of its own for it
_KNOWN: Final = "already exists"


class Scripts:
    """Runs scripts by name on one client. Raises as `store_errors`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client  # redis-py's methods are half typed
        self._kept: list[Any] = []  # as many as ever ran at the same time
        # fakeredis, which the unit tests use, has no connections.
        self._is_fake = type(client).__module__.startswith("fakeredis")

    def run(self, name: str, args: Sequence[Any] = (), root: str | None = None) -> Any:
        """Run ``lua/<name>.lua`` with ``args``; loads all scripts where the server does not know it (yet, or any more).

        ``root`` is that of the keys, by default of those that the script names. All scripts, because a server that is
        full takes no more of them, and then needs those that make room.
        """
        function = library(name)
        root = root or (SHARED_ROOT if function.is_shared else ROOT)
        with store_errors():
            try:
                return self._call(function.name, root, args)
            except ResponseError as error:
                if str(error) != _UNKNOWN:
                    raise
            self.load()
            return self._call(function.name, root, args)

    def load(self) -> None:
        """Give the server every script that it does not know."""
        for script in scripts():
            try:
                self._client.function_load(library(script).text)
            except ResponseError as error:
                if _KNOWN not in str(error):
                    raise

    def drop_others(self) -> None:
        """Delete the libraries of other versions, which somebody who still runs one would load again."""
        ours = {library(script).name for script in scripts()}
        for listed in self._client.function_list(library=f"{PREFIX}*"):
            fields = dict(zip(listed[::2], listed[1::2], strict=True)) if isinstance(listed, list) else listed
            name = fields[b"library_name"].decode()
            if name not in ours:
                self._client.function_delete(name)

    def _call(self, function: str, root: str, args: Sequence[Any]) -> Any:
        """On a connection that is kept for the next one: to take it from redis-py's pool costs as much as to use it.

        One that something went wrong with is not kept.
        """
        try:
            client = self._kept.pop()
        except IndexError:
            client = self._client if self._is_fake else self._client.client()
        reply = client.fcall(function, 1, root, *args)
        self._kept.append(client)
        return reply


def renew(url: str) -> None:
    """Bring a server that nobody uses yet to this version: the names of its keys, and its scripts."""
    with store_errors(), redis.Redis.from_url(url) as client:
        rename_old_keys(client)
        runner = Scripts(client)
        runner.load()
        runner.drop_others()
