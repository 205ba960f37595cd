"""Every check of a relay, in the order in which things depend on one another; those of versions, keys and server."""

from __future__ import annotations

import re
from importlib import metadata
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from relay.doctor.api_keys import examine_api_keys
from relay.doctor.audit_trail import examine_audit_trail
from relay.doctor.finding import Finding, Level, judged, listed
from relay.doctor.installation import examine_installation
from relay.doctor.lanes import examine_lanes
from relay.doctor.registrations import examine_alerts, examine_registrations, examine_waiting
from relay.errors import SettingsError, Unavailable
from relay.queue import LANES
from relay.settings import ENV_FILE, Settings, unknown_names
from relay.settings.private_file import read_private_file
from relay.store.backlog import Backlog
from relay.store.health import ServerHealth, read_health
from relay.up.datadir import AUDIT_KEY_FILE, KEY_FILES
from relay.up.embedded import ADMIN_URL_FILE
from relay.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay.runtime import Runtime

#: The oldest releases without known holes or faults that matter here (security, "Version floors").
VERSION_FLOORS: Final = {
    "celery": (5, 6),
    "flower": (2, 2),
    "marshmallow": (4, 1, 2),
    "urllib3": (2, 8),
    "requests": (2, 33),
    "tornado": (6, 5),
}
SERVER_FLOORS: Final = {"redis": (7,), "valkey": (8,)}
MAX_SKEW_MS: Final = 2_000
_MEMORY_SHARE: Final = 0.9


def examine(data_dir: Path, settings: Settings, runtime: Runtime) -> Iterator[Finding]:
    """Every finding, in the order in which things depend on one another."""
    yield from _versions()
    yield from _names()
    if (data_dir / ENV_FILE).exists():  # else nothing of `relay up` is here: the settings come from the environment
        yield from _data_dir(data_dir)
        yield from examine_installation(data_dir)
    try:
        health = read_health(settings.store_url.reveal(), _admin_url(data_dir, settings), runtime.keyspace)
    except Unavailable as error:
        yield Finding("redis", Level.PROBLEM, error.message, "Start it, or correct RELAY_REDIS_URL and its password.")
        yield from _key_rings(settings)
        return
    yield from _server(health)
    yield from examine_lanes(health.workers, Backlog(runtime.client, runtime.keyspace).of(LANES))
    yield from _key_rings(settings)
    if settings.target_keys is not None:
        yield from examine_registrations(runtime, health.plugins)
    yield from examine_waiting(runtime, health.plugins)
    if settings.data_keys is not None:
        yield from examine_alerts(runtime)
        yield examine_api_keys(runtime)
    yield examine_audit_trail(runtime)


def _versions() -> Iterator[Finding]:
    for name, floor in VERSION_FLOORS.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(f"version of {name}", Level.PROBLEM, "not installed", f"Install {name}.")
            continue
        wanted = ".".join(map(str, floor))
        good = tuple(int(part) for part in re.findall(r"\d+", version)[:3]) >= floor
        yield judged(f"version of {name}", good, version, f"Install {name} {wanted} or newer.")


def _names() -> Iterator[Finding]:
    unknown = unknown_names()
    if unknown:
        yield Finding(
            "settings", Level.NOTE, f"unknown: {', '.join(unknown)}", "`relay settings` lists the names that there are."
        )


def _data_dir(data_dir: Path) -> Iterator[Finding]:
    names = (ENV_FILE, *KEY_FILES, AUDIT_KEY_FILE, "valkey.conf", ADMIN_URL_FILE, "flower.auth")
    paths = [data_dir, *(data_dir / name for name in names if (data_dir / name).exists())]
    loose = [path.name for path in paths if path.stat().st_mode & 0o077]
    found = f"others may read: {', '.join(loose)}" if loose else "readable by its owner only"
    yield judged(
        "data directory", not loose, found, "chmod go= on them; if others may have read them, change the keys."
    )
    yield Finding(
        "back-up",
        Level.NOTE,
        f"the keys are in {' and '.join(KEY_FILES)}",
        "Back them up apart from the data: without them registrations and contents are lost.",
    )


def _server(health: ServerHealth) -> Iterator[Finding]:
    floor = SERVER_FLOORS[health.software]
    yield judged(
        "redis", health.version >= floor, f"reachable, {health.version_text}", "Use Redis 7 or Valkey 8, or newer."
    )
    yield _append_only(health)
    yield _rights(health)
    yield judged(
        "eviction",
        health.eviction in ("noeviction", None),
        f"maxmemory-policy {health.eviction or 'not told'}",
        "Set maxmemory-policy noeviction: a full server has to refuse work, not forget records.",
    )
    if health.maximum_bytes:
        share = health.used_bytes / health.maximum_bytes
        yield judged("memory", share < _MEMORY_SHARE, f"{share:.0%} used", "Raise maxmemory, or lower the retentions.")
    yield judged(
        "clock",
        abs(health.skew_ms) <= MAX_SKEW_MS,
        f"the server is {round(health.skew_ms):+d} ms off this machine",
        "Run NTP on both: leases count on the server's clock, and it must not jump.",
    )
    if health.clock_jump is not None:
        advice = "Another machine, after a failover? Leases may have ended early, or last longer. Run NTP on all."
        yield Finding("clock jump", Level.NOTE, health.clock_jump.sentence, advice)


def _admin_url(data_dir: Path, settings: Settings) -> str | None:
    """The address with full rights that `relay up` left, if it is of the server that is looked at."""
    path = data_dir / ADMIN_URL_FILE
    if not path.exists():
        return None
    url = read_private_file(path)
    own, other = urlsplit(settings.store_url.reveal()), urlsplit(url)
    return url if (own.hostname, own.port) == (other.hostname, other.port) else None


def _rights(health: ServerHealth) -> Finding:
    """Whether a process could configure or empty the server."""
    if not health.unrestricted:
        return Finding("server users", Level.OK, "none may configure or empty the server")
    return Finding(
        "server users",
        Level.NOTE,
        f"may do more than needed: {listed(health.unrestricted)}",
        "Give each process a user of its own, as deploy/users.acl has them.",
    )


def _append_only(health: ServerHealth) -> Finding:
    check, found = "append-only file", f"on, appendfsync {health.fsync or 'not told'}"
    if not health.append_only or health.fsync == "no":
        found = found if health.append_only else "off"
        return Finding(
            check, Level.PROBLEM, found, "Set appendonly yes and appendfsync always: otherwise records are lost."
        )
    if not health.append_only_healthy:
        advice = "Look at the disk of the server: while it cannot write it takes nothing new."
        return Finding(check, Level.PROBLEM, "on, but the last write failed", advice)
    if health.fsync == "everysec":
        return Finding(
            check, Level.NOTE, found, "A killed server may lose its last second; appendfsync always does not."
        )
    if health.failed_writes:
        found = f"on, but {' and '.join(health.failed_writes)} failed the last time"
        return Finding(check, Level.PROBLEM, found, "Look at the disk of the server, and at its log.")
    return Finding(check, Level.OK, found)


def _key_rings(settings: Settings) -> Iterator[Finding]:
    for check, keys in (("target keys", settings.target_keys), ("data keys", settings.data_keys)):
        name = f"RELAY_{check.replace(' ', '_').upper()}"
        if keys is None:
            yield Finding(check, Level.PROBLEM, "not set", f"Set {name}, or name the data directory with --data-dir.")
            continue
        try:
            ids = Vault.from_text(keys.reveal()).key_ids
        except SettingsError as error:
            yield Finding(check, Level.PROBLEM, error.message, f"Correct {name}.")
        else:
            yield Finding(check, Level.OK, f"{len(ids)}, newest {ids[0]}")
