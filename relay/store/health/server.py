"""Reads the health of one server, as the server itself reports it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import redis

from relay.store.scripting.loading import has_functions
from relay.store.server.clock import time_ms_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SKEW_SAMPLES: Final = 3
#: Fields of INFO with the connections that count towards ``maxclients``.
_CONNECTIONS: Final = ("connected_clients", "connected_slaves", "cluster_connections")
#: Rights in an ACL rule that no process of the relay needs.
_EXCESS: Final = frozenset(
    {
        *("+@all", "+@admin", "+@dangerous", "+config", "+debug", "+flushall", "+flushdb", "+keys"),
        *("+@scripting", "+function", "+function|load", "+function|restore", "+function|delete", "+function|flush"),
    }
)


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """The health of one server. None stands for what it does not reveal: some hosted servers forbid CONFIG."""

    name: str  # host:port, or the path of its socket
    software: str  # "redis" or "valkey"
    version: tuple[int, ...]
    append_only: bool
    append_only_healthy: bool
    fsync: str | None
    eviction: str | None  # maxmemory-policy
    used_bytes: int
    maximum_bytes: int  # 0: no limit
    skew_ms: float  # the server's clock minus this machine's
    unrestricted: tuple[str, ...]  # users of the relay's processes that may configure or empty the server
    replicas: int | None = None  # how many follow it; None: it is a replica itself
    failed_writes: tuple[str, ...] = ()  # kinds of files whose last write failed
    has_functions: bool = True  # those of this version
    connections: int = 0  # of clients, replicas and other servers of a cluster
    most_connections: int | None = None  # maxclients


def read_server(name: str, client: redis.Redis, administrator: redis.Redis) -> ServerHealth:
    """Read a server's health, through ``administrator`` where its rights are needed. Raises redis-py's errors."""
    info = client.info()
    is_valkey = "valkey_version" in info
    version = str(info["valkey_version" if is_valkey else "redis_version"])
    return ServerHealth(
        name,
        software="valkey" if is_valkey else "redis",
        version=tuple(int(part) for part in version.split(".") if part.isdigit()),
        append_only=bool(info.get("aof_enabled")),
        append_only_healthy=info.get("aof_last_write_status", "ok") == "ok",
        fsync=_config(administrator, "appendfsync"),
        eviction=str(info["maxmemory_policy"]) if "maxmemory_policy" in info else None,
        used_bytes=int(info.get("used_memory", 0)),
        maximum_bytes=int(info.get("maxmemory", 0)),
        skew_ms=_skew_ms(client),
        unrestricted=_unrestricted(client, administrator),
        replicas=int(info.get("connected_slaves", 0)) if info.get("role", "master") == "master" else None,
        failed_writes=tuple(failed_writes(info)),
        has_functions=has_functions(client),
        connections=sum(int(info.get(name, 0)) for name in _CONNECTIONS),
        most_connections=int(info["maxclients"]) if "maxclients" in info else None,
    )


#: Fields of INFO that tell whether the server's last write of its data to a file succeeded, and the kind of file.
_WRITES: Final = {"rdb_last_bgsave_status": "snapshot", "aof_last_bgrewrite_status": "rewrite of the append-only file"}


def failed_writes(info: Mapping[str, Any]) -> Iterator[str]:
    """Yield the kinds of files whose last write by the server failed."""
    return (what for name, what in _WRITES.items() if info.get(name, "ok") != "ok")


def _skew_ms(client: redis.Redis) -> float:
    """Return the server's clock minus this machine's, from the quickest of a few samples."""
    best_s, skew_ms = float("inf"), 0.0
    for _ in range(_SKEW_SAMPLES):
        before = time.time()
        now_ms = time_ms_of(client)
        after = time.time()
        if after - before < best_s:
            best_s = after - before
            skew_ms = now_ms - (before + after) / 2 * 1000
    return skew_ms


def _config(client: redis.Redis, name: str) -> str | None:
    try:
        return cast("dict[str, str]", client.config_get(name)).get(name)
    except redis.ResponseError:
        return None


def _unrestricted(client: redis.Redis, administrator: redis.Redis) -> tuple[str, ...]:
    """Return users with rights that no process of the relay needs; checks only the present one if it may list none."""
    own, above = _user_name(client), _user_name(administrator)
    try:
        users = [line.split() for line in cast("list[str]", administrator.acl_list())]
    except redis.ResponseError:
        return (own,) if _config(client, "appendfsync") is not None else ()
    return tuple(user[1] for user in users if "on" in user and user[1] != above and _EXCESS & set(user)) or (
        (own,) if own == above else ()
    )


def _user_name(client: redis.Redis) -> str:
    try:
        return str(client.acl_whoami())
    except redis.ResponseError:
        return ""
