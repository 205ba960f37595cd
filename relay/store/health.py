"""What the Redis server says about itself: for readiness and for ``relay doctor``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from relay.errors import StoreFault, Unavailable
from relay.store import keyspace
from relay.store.connection import client_of
from relay.store.keyspace import SINGLE, Keyspace
from relay.store.plugin_names import plugins_of
from relay.store.replicas import primaries_of
from relay.store.scripts import store_errors
from relay.store.server_clock import ClockJump
from relay.store.workers import LiveWorker, live_workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TIMEOUT_S: Final = 3.0
_ANSWER_TIMEOUT_S: Final = 1.0
_SKEW_SAMPLES: Final = 3
#: Rights in an ACL rule that no process of the relay needs.
_EXCESS: Final = frozenset({"+@all", "+@admin", "+@dangerous", "+config", "+debug", "+flushall", "+flushdb", "+keys"})
#: So old may be what readiness says about the server's settings.
_WARNINGS_AGE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """One look at a server. None stands for what it does not tell (some hosted servers forbid CONFIG)."""

    software: str  # "redis" or "valkey"
    version: tuple[int, ...]
    append_only: bool
    append_only_healthy: bool
    fsync: str | None
    eviction: str | None  # maxmemory-policy
    used_bytes: int
    maximum_bytes: int  # 0: no limit
    skew_ms: float  # the server's clock minus this machine's
    unrestricted: tuple[str, ...]  # server users that may configure or empty the server, of those that a process uses
    workers: tuple[LiveWorker, ...] = ()
    plugins: tuple[str, ...] = ()
    failed_writes: tuple[str, ...] = ()  # of its files, beside the append-only file as it grows
    clock_jump: ClockJump | None = None  # within the last hour

    @property
    def version_text(self) -> str:
        """Such as ``valkey 9.1.2``."""
        return f"{self.software} {'.'.join(map(str, self.version))}"


class ServerWarnings:
    """What of the server's settings breaks a promise, looked at every ten seconds at most. For threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client
        self._known: tuple[float, tuple[str, ...]] = (-_WARNINGS_AGE_S, ())

    def now(self) -> tuple[str, ...]:
        """One sentence a warning. Raises `Unavailable` while the server is away."""
        looked_at_s, warnings = self._known
        if time.monotonic() - looked_at_s >= _WARNINGS_AGE_S:
            warnings = tuple(self._look())
            self._known = (time.monotonic(), warnings)
        return warnings

    def _look(self) -> Iterator[str]:
        try:
            with store_errors():
                servers = [(each.info("persistence"), each.info("memory")) for each in primaries_of(self._client)]
                jump = self._client.get(keyspace.clock_jump())
        except StoreFault:  # some hosted servers do not tell
            return
        except Unavailable as error:
            if isinstance(error.__cause__, redis.exceptions.NoPermissionError):  # nor do these
                return
            raise
        for persistence, memory in servers:
            yield from _warnings_of(persistence, memory)
        if jump is not None:
            yield f"{_jump_from(jump).sentence.capitalize()}: leases may have ended early, or last longer."


def _warnings_of(persistence: Mapping[str, Any], memory: Mapping[str, Any]) -> Iterator[str]:
    """What may be wrong with one server."""
    if not persistence.get("aof_enabled"):
        yield "The append-only file is off: a killed server loses accepted triggers."
    elif persistence.get("aof_last_write_status", "ok") != "ok":
        yield "The last write to the append-only file failed."
    if memory.get("maxmemory_policy", "noeviction") != "noeviction":
        yield "The eviction policy is not noeviction: a full server forgets records."
    for what in failed_writes(persistence):
        yield f"The server's last {what} failed."


def answers(url: str) -> bool:
    """Whether the server can be used now: it answers, knows the password and has loaded its data."""
    with _client(url, _ANSWER_TIMEOUT_S) as client:
        try:
            return bool(client.ping())
        except Exception:  # noqa: BLE001 - whatever it answers, it cannot be used
            return False


def read_health(url: str, admin_url: str | None = None, keys: Keyspace = SINGLE) -> ServerHealth:
    """Ask the server; what only an administrator may know is asked with ``admin_url``, where there is one.

    Raises:
        Unavailable: says which kind of trouble there is, without the address.
    """
    with _client(url, _TIMEOUT_S) as client, _client(admin_url or url, _TIMEOUT_S) as administrator:
        try:
            return _read(client, administrator, keys)
        except redis.AuthenticationError:
            raise Unavailable("Redis refuses the password of RELAY_REDIS_URL.") from None
        except redis.BusyLoadingError:
            raise Unavailable("Redis is still loading its data.") from None
        except redis.TimeoutError:
            raise Unavailable("Redis did not answer in time.") from None
        except Exception:  # noqa: BLE001 - its text may quote the address
            raise Unavailable("Redis cannot be reached, or refuses to answer.") from None


def _client(url: str, timeout_s: float) -> redis.Redis:
    return client_of(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0))


def _read(client: redis.Redis, administrator: redis.Redis, keys: Keyspace) -> ServerHealth:
    info = client.info()
    is_valkey = "valkey_version" in info
    version = str(info["valkey_version" if is_valkey else "redis_version"])
    skew_ms, now_ms = _clock(client)
    beats = cast("list[tuple[bytes, float]]", client.zrange(keyspace.workers(), 0, -1, withscores=True))
    lanes = cast("dict[bytes, bytes]", client.hgetall(keyspace.worker_lanes()))
    jump = cast("bytes | None", client.get(keyspace.clock_jump()))
    return ServerHealth(
        software="valkey" if is_valkey else "redis",
        version=tuple(int(part) for part in version.split(".") if part.isdigit()),
        append_only=bool(info.get("aof_enabled")),
        append_only_healthy=info.get("aof_last_write_status", "ok") == "ok",
        fsync=_config(administrator, "appendfsync"),
        eviction=str(info["maxmemory_policy"]) if "maxmemory_policy" in info else None,
        used_bytes=int(info.get("used_memory", 0)),
        maximum_bytes=int(info.get("maxmemory", 0)),
        skew_ms=skew_ms,
        unrestricted=_unrestricted(client, administrator),
        workers=tuple(sorted(live_workers(beats, lanes, now_ms), key=lambda worker: worker.name)),
        failed_writes=tuple(failed_writes(info)),
        clock_jump=None if jump is None else _jump_from(jump),
        plugins=tuple(sorted(plugins_of(client, keys))),
    )


#: What else of its data a server writes, and what says how that went the last time.
_WRITES: Final = {"rdb_last_bgsave_status": "snapshot", "aof_last_bgrewrite_status": "rewrite of the append-only file"}


def failed_writes(info: Mapping[str, Any]) -> Iterator[str]:
    """What of its files the server could not write the last time."""
    return (what for name, what in _WRITES.items() if info.get(name, "ok") != "ok")


def _jump_from(text: bytes) -> ClockJump:
    return ClockJump.from_text(text.decode())


def _clock(client: redis.Redis) -> tuple[float, float]:
    """The server's clock against ours, from the quickest of a few samples, and its time in ms."""
    best_ms, skew_ms, now_ms = float("inf"), 0.0, 0.0
    for _ in range(_SKEW_SAMPLES):
        before = time.time()
        seconds, micros = client.time()
        after = time.time()
        now_ms = seconds * 1000 + micros / 1000
        if after - before < best_ms:
            best_ms = after - before
            skew_ms = now_ms - (before + after) / 2 * 1000
    return skew_ms, now_ms


def _config(client: redis.Redis, name: str) -> str | None:
    try:
        found = cast("dict[bytes, bytes]", client.config_get(name))
    except redis.ResponseError:
        return None
    value = found.get(name.encode()) or cast("dict[str, bytes]", found).get(name)
    return value.decode() if isinstance(value, bytes) else value


def _unrestricted(client: redis.Redis, administrator: redis.Redis) -> tuple[str, ...]:
    """Name the users with rights that no process of the relay needs; the user at hand where users cannot be listed."""
    own, above = _user_name(client), _user_name(administrator)
    try:
        lines = [line if isinstance(line, str) else line.decode() for line in administrator.acl_list()]
    except redis.ResponseError:
        return (own,) if _config(client, "appendfsync") is not None else ()
    users = [line.split() for line in lines]
    return tuple(user[1] for user in users if "on" in user and user[1] != above and _EXCESS & set(user)) or (
        (own,) if own == above else ()
    )


def _user_name(client: redis.Redis) -> str:
    try:
        name = client.acl_whoami()
    except redis.ResponseError:
        return ""
    return name.decode() if isinstance(name, bytes) else str(name)
