"""What may be wrong with a relay, and what to do about it: one small check a concern."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from typing import TYPE_CHECKING, Final

from relay.errors import NotFound, RelayError, SettingsError, Unavailable, VaultError
from relay.queue import LANES
from relay.settings import ENV_FILE, Settings, unknown_names
from relay.store.health import ServerHealth, read_health
from relay.store.workers import workers_by_lane
from relay.up.datadir import KEY_FILES
from relay.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay.runtime import Runtime
    from relay.store.registry import Registered

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
_SHOWN: Final = 10


class Level(StrEnum):
    """How much a finding matters; only a problem makes the command fail."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, what was found and, unless all is well, what to do."""

    check: str
    level: Level
    found: str
    advice: str = ""


def examine(data_dir: Path, settings: Settings, runtime: Runtime) -> Iterator[Finding]:
    """Every finding, in the order in which things depend on one another."""
    yield from _versions()
    yield from _names()
    yield from _data_dir(data_dir)
    try:
        health = read_health(settings.store_url.reveal())
    except Unavailable as error:
        yield Finding("redis", Level.PROBLEM, error.message, "Start it, or correct RELAY_REDIS_URL and its password.")
        yield from _key_rings(settings)
        return
    yield from _server(health)
    yield from _workers(health)
    yield from _key_rings(settings)
    yield from _registrations(health, settings, runtime)


def _judge(check: str, good: bool, found: str, advice: str) -> Finding:
    return Finding(check, Level.OK, found) if good else Finding(check, Level.PROBLEM, found, advice)


def _versions() -> Iterator[Finding]:
    for name, floor in VERSION_FLOORS.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(f"version of {name}", Level.PROBLEM, "not installed", f"Install {name}.")
            continue
        wanted = ".".join(map(str, floor))
        good = tuple(int(part) for part in re.findall(r"\d+", version)[:3]) >= floor
        yield _judge(f"version of {name}", good, version, f"Install {name} {wanted} or newer.")


def _names() -> Iterator[Finding]:
    unknown = unknown_names()
    if unknown:
        yield Finding(
            "settings", Level.NOTE, f"unknown: {', '.join(unknown)}", "`relay settings` lists the names that there are."
        )


def _data_dir(data_dir: Path) -> Iterator[Finding]:
    if not (data_dir / ENV_FILE).exists():
        return  # nothing of `relay up` here: the settings come from the environment
    names = (ENV_FILE, *KEY_FILES, "valkey.conf", "valkey.password", "flower.auth")
    paths = [data_dir, *(data_dir / name for name in names if (data_dir / name).exists())]
    loose = [path.name for path in paths if path.stat().st_mode & 0o077]
    found = f"others may read: {', '.join(loose)}" if loose else "readable by its owner only"
    yield _judge(
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
    yield _judge(
        "redis", health.version >= floor, f"reachable, {health.version_text}", "Use Redis 7 or Valkey 8, or newer."
    )
    yield _append_only(health)
    yield _judge(
        "eviction",
        health.eviction in ("noeviction", None),
        f"maxmemory-policy {health.eviction or 'not told'}",
        "Set maxmemory-policy noeviction: a full server has to refuse work, not forget records.",
    )
    if health.maximum_bytes:
        share = health.used_bytes / health.maximum_bytes
        yield _judge("memory", share < _MEMORY_SHARE, f"{share:.0%} used", "Raise maxmemory, or lower the retentions.")
    yield _judge(
        "clock",
        abs(health.skew_ms) <= MAX_SKEW_MS,
        f"the server is {round(health.skew_ms):+d} ms off this machine",
        "Run NTP on both: leases count on the server's clock, and it must not jump.",
    )


def _append_only(health: ServerHealth) -> Finding:
    check, found = "append-only file", f"on, appendfsync {health.fsync or 'not told'}"
    if not health.append_only or health.fsync == "no":
        found = found if health.append_only else "off"
        return Finding(check, Level.PROBLEM, found, "Set appendonly yes and appendfsync always: records are lost else.")
    if not health.append_only_healthy:
        return Finding(check, Level.PROBLEM, "on, but the last write failed", "Look at the disk of the server.")
    if health.fsync == "everysec":
        return Finding(
            check, Level.NOTE, found, "A killed server may lose its last second; appendfsync always does not."
        )
    return Finding(check, Level.OK, found)


def _workers(health: ServerHealth) -> Iterator[Finding]:
    yield _judge(
        "workers",
        bool(health.workers),
        ", ".join(worker.name for worker in health.workers) or "none is alive",
        "Start them: `relay up`, or the worker lines of the Procfile. Until then triggers are kept and wait.",
    )
    for lane, count in workers_by_lane(health.workers, LANES).items():
        yield _judge(
            f"lane {lane}",
            count > 0,
            f"{count} worker{'' if count == 1 else 's'}",
            "No worker serves it: start one (`-Q` of the Procfile's worker lines names the lanes).",
        )


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


def _registrations(health: ServerHealth, settings: Settings, runtime: Runtime) -> Iterator[Finding]:
    """Whether every current registration opens with the target keys at hand."""
    if settings.target_keys is None:
        return
    opened, closed = 0, []
    try:
        for plugin in health.plugins:
            for webhook in runtime.registry.shapes(plugin):
                if _opens(runtime, plugin, webhook):
                    opened += 1
                else:
                    closed.append(f"{plugin}/{webhook.webhook_id}")
    except RelayError as error:
        yield Finding("registrations", Level.PROBLEM, error.message, "See the findings above.")
        return
    found = f"{opened} open" + (f", {len(closed)} do not: {', '.join(closed[:_SHOWN])}" if closed else "")
    advice = "Put the key that sealed them back into RELAY_TARGET_KEYS (from the back-up), or register them again."
    yield _judge("registrations", not closed, found, advice)


def _opens(runtime: Runtime, plugin: str, webhook: Registered) -> bool:
    try:
        runtime.registry.open_target(plugin, webhook.webhook_id, webhook.revision)
    except (VaultError, NotFound):
        return False
    return True
