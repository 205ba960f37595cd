"""The Lua scripts: loaded from package data, their includes and key names put in, run by name."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import (
    BusyLoadingError,
    MaxConnectionsError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from relay.errors import Unavailable
from relay.store import keyspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

# The only scripts that a full server may refuse: they bring new work, the others record work done.
_REFUSABLE: Final = frozenset({"accept", "replay_make", "replay_create"})
_INCLUDES: Final = re.compile(r"^-- include: (.+)$", re.MULTILINE)
_RECORDS: Final = re.compile(r"^-- record (\w+): (.+(?:\n--   .+)*)", re.MULTILINE)
_AWAY: Final = (
    RedisConnectionError,
    RedisTimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    OutOfMemoryError,
    MaxConnectionsError,
)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn "the server is away, loading, full or read-only" into `Unavailable`."""
    try:
        yield
    except _AWAY as error:
        raise Unavailable from error


@cache
def script_text(name: str) -> str:
    """The whole text of ``lua/<name>.lua`` as the server gets it, without the shebang line."""
    folder = resources.files("relay.store") / "lua"
    body = (folder / f"{name}.lua").read_text("utf-8")
    included = _INCLUDES.search(body)
    names = included.group(1).split(", ") if included else []
    parts = [*((folder / "include" / f"{part}.lua").read_text("utf-8") for part in names), body]
    return "\n".join([keyspace.lua_prelude(), *(text for part in parts for text in (*_record_readers(part), part))])


def _record_readers(part: str) -> Iterator[str]:
    """Functions that read named fields of a record, for ``-- record NAME: field field ...`` (the first is state).

    A table written out with its names costs Lua a fraction of one that is filled name by name.
    """
    for name, listed in _RECORDS.findall(part):
        fields = listed.replace("--", " ").split()
        asked = ", ".join(f"'{field}'" for field in fields)
        members = ", ".join(f"{field} = f[{number}] or ''" for number, field in enumerate(fields, 1))
        yield (
            f"local function {name}(ref)\n"
            f"  local f = redis.call('HMGET', KEY.record(ref), {asked})\n"
            f"  if not f[1] then return nil end\n"
            f"  return {{ ref = ref, {members} }}\n"
            f"end"
        )


class Scripts:
    """Runs scripts by name on one client. Raises `Unavailable` when the server cannot take them."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client  # redis-py's methods are half typed
        self._digests: dict[str, str] = {}
        self._kept: list[Any] = []  # as many as ever ran at the same time
        # fakeredis, which the unit tests use, has no connections and does not know the shebang line.
        self._is_fake = type(client).__module__.startswith("fakeredis")

    def run(self, name: str, args: Sequence[Any] = ()) -> Any:
        """Run ``lua/<name>.lua`` with ``args``; loads it where the server does not know it (yet, or any more)."""
        with store_errors():
            digest = self._digests.get(name) or self._load(name)
            try:
                return self._evaluate(digest, args)
            except NoScriptError:
                return self._evaluate(self._load(name), args)

    def _evaluate(self, digest: str, args: Sequence[Any]) -> Any:
        """On a connection that is kept for the next one: to take it from redis-py's pool costs as much as to use it.

        One that something went wrong with is not kept.
        """
        try:
            client = self._kept.pop()
        except IndexError:
            client = self._client if self._is_fake else self._client.client()
        reply = client.evalsha(digest, 0, *args)
        self._kept.append(client)
        return reply

    def _load(self, name: str) -> str:
        text = script_text(name)
        if not self._is_fake:
            flags = "" if name in _REFUSABLE else " flags=allow-oom"
            text = f"#!lua{flags}\n{text}"
        digest = self._client.script_load(text)
        self._digests[name] = digest if isinstance(digest, str) else digest.decode()
        return self._digests[name]
