"""Reads the health of the store, server by server, for readiness and for ``relay doctor``."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from relay.errors import StoreFault, Unavailable
from relay.store.health.server import ServerHealth, failed_writes, read_server
from relay.store.health.workers import LiveWorker, Workers
from relay.store.keys import keyspace
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.partitions.plugins import plugins_of
from relay.store.partitions.reachable import Partitions, Silence, ask_servers
from relay.store.server.availability import going_on_without
from relay.store.server.clock import ClockJump
from relay.store.server.connection import client_of, servers_of
from relay.store.server.errors import store_errors
from relay.store.server.fields import one_value
from relay.store.server.replies import replies_to
from relay.text.server_addresses import is_cluster, places_in, read_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TIMEOUT_S: Final = 3.0
#: For each of several servers, so that with a silent one a command still takes less than two seconds in all.
_ANSWER_TIMEOUT_S: Final = 0.75
_NO_SILENCE: Final = Silence()
#: How old readiness's view of the server's settings may be, in seconds.
_WARNINGS_AGE_S: Final = 10.0


class Probe(Enum):
    """The state that one server is found in; loading millions of records takes minutes."""

    READY = "ready"
    LOADING = "loading"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """The health of the store at one moment: of each server, and what all servers hold together.

    ``away`` names the servers that did not answer, ``silence`` what they hold; ``workers`` is None if that includes
    the shared keys. ``rest`` says why nothing that the servers hold together could be read; None if something was.
    """

    servers: tuple[ServerHealth, ...]
    away: tuple[str, ...] = ()
    workers: tuple[LiveWorker, ...] | None = ()
    plugins: tuple[str, ...] = ()  # of partitions that answer
    silence: Silence = _NO_SILENCE
    clock_jump: ClockJump | None = None  # within the last hour
    rest: Unavailable | None = None


class ServerWarnings:
    """Server settings that break a promise of the relay, read every ten seconds at most. Safe for threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client
        self._known: tuple[float, tuple[str, ...]] = (-_WARNINGS_AGE_S, ())

    def now(self) -> tuple[str, ...]:
        """Return the warnings, one sentence each. Raises `Unavailable` while the server is away."""
        looked_at_s, warnings = self._known
        if time.monotonic() - looked_at_s >= _WARNINGS_AGE_S:
            warnings = tuple(self._look())
            self._known = (time.monotonic(), warnings)
        return warnings

    def _look(self) -> Iterator[str]:
        for info in self._infos():
            yield from _warnings_of(info)
        jump = None
        with suppress(Unavailable), going_on_without():
            jump = _jump_in(self._client)
        if jump is not None:
            yield f"{jump.sentence.capitalize()}: leases may have ended early, or may last longer."

    def _infos(self) -> list[dict[str, Any]]:
        try:
            return list(ask_servers(self._client, _persistence_and_memory))
        except StoreFault:  # some hosted servers forbid these commands
            return []
        except Unavailable as error:
            if isinstance(error.__cause__, redis.exceptions.NoPermissionError):  # as do these
                return []
            raise


def _persistence_and_memory(server: Any) -> dict[str, Any]:
    with store_errors():
        return {**server.info("persistence"), **server.info("memory")}


def _warnings_of(info: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each thing that may be wrong with one server."""
    if not info.get("aof_enabled"):
        yield "The append-only file is off: a killed server loses accepted triggers."
    elif info.get("aof_last_write_status", "ok") != "ok":
        yield "The last write to the append-only file failed."
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        yield "The eviction policy is not noeviction: a full server forgets records."
    for what in failed_writes(info):
        yield f"The server's last {what} failed."


def probe(url: str) -> Probe:
    """Return whether the server can be used now: it answers, knows the password and has loaded its data."""
    with _client(url, _ANSWER_TIMEOUT_S) as client:
        try:
            client.ping()
        except redis.BusyLoadingError:
            return Probe.LOADING
        except Exception:  # noqa: BLE001 - whatever went wrong, it cannot be used
            return Probe.AWAY
        return Probe.READY


def read_health(url: str, admin_url: str | None = None, keys: Keyspace = SINGLE) -> StoreHealth:
    """Read the health of every server; use ``admin_url``, if given, for what only an administrator may read.

    Raises:
        Unavailable: no server answers; the message says why, without the address.
    """
    with _without_addresses(), _client(url) as client:
        every, named_otherwise = servers_of(client, url)
        timeout_s = _TIMEOUT_S if len(every) == 1 else _ANSWER_TIMEOUT_S
        with ThreadPoolExecutor(len(every)) as pool:  # every silent server takes the whole time
            read = {name: pool.submit(_health_of, name, own, admin_url, timeout_s) for name, own in every.items()}
        away = {name: error for name, each in read.items() if (error := each.exception()) is not None}
        servers = tuple(each.result() for name, each in read.items() if name not in away.keys() | named_otherwise)
        if not servers:
            raise next(iter(away.values()))
        try:
            with _without_addresses():
                return replace(_rest(client, keys), servers=servers, away=tuple(away))
        except Unavailable as error:
            return StoreHealth(servers, tuple(away), rest=error)


def read_workers(url: str) -> tuple[LiveWorker, ...]:
    """Read which workers are alive. Raises `Unavailable`, like `read_health`."""
    with _without_addresses(), _client(url) as client:
        return tuple(Workers(client).alive())


@contextmanager
def _without_addresses() -> Iterator[None]:
    """Turn errors into `Unavailable` with a message that says why, and quotes no address."""
    try:
        yield
    except Unavailable as error:
        raise error from None
    except redis.AuthenticationError:
        raise Unavailable("Redis refuses the password of RELAY_REDIS_URL.") from None
    except redis.BusyLoadingError:
        raise Unavailable("Redis is still loading its data.") from None
    except redis.TimeoutError:
        raise Unavailable("Redis did not answer in time.") from None
    except Exception:  # noqa: BLE001 - its text may quote the address
        raise Unavailable("Redis cannot be reached, or refuses to answer.") from None


def _health_of(name: str, url: str, admin_url: str | None, timeout_s: float) -> ServerHealth:
    admin_url = url if admin_url is None else _same_server(url, admin_url)
    with _without_addresses(), _client(url, timeout_s) as client, _client(admin_url, timeout_s) as administrator:
        return read_server(name, client, administrator)


def _same_server(url: str, admin_url: str) -> str:
    """Return the administrator's address of the server at ``url``, if ``admin_url`` names a cluster."""
    if not is_cluster(admin_url):
        return admin_url
    ((host, port),) = places_in(url)
    return read_address(admin_url).of_one(str(host), int(port or 0))


def _client(url: str, timeout_s: float = _TIMEOUT_S) -> redis.Redis:
    return client_of(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0))


def _rest(client: redis.Redis, keys: Keyspace) -> StoreHealth:
    """Read what the servers hold together: the workers, the plugins and the last jump of the clock."""
    silence = Partitions(client, keys).silence()
    return StoreHealth(
        (),
        workers=None if silence.shared else tuple(Workers(client).alive()),
        plugins=tuple(plugins_of(client, keys)),
        silence=silence,
        clock_jump=None if silence.shared else _jump_in(client),
    )


def _jump_in(client: Any) -> ClockJump | None:
    """Return the last jump of the clock; None if there was none recently, or its record is damaged."""
    key = keyspace.shared("clock_jump")
    (text,) = replies_to(client, [("GET", key)])
    return one_value(key, text, ClockJump.from_text)
