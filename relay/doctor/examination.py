"""Runs every check of a relay, each after those it depends on; has the checks of versions, files and key rings."""

from __future__ import annotations

import re
from importlib import metadata
from typing import TYPE_CHECKING, Final

from relay.doctor.api_keys import examine_api_keys
from relay.doctor.audit_trail import examine_audit_trail
from relay.doctor.calls import examine_alerts, examine_callbacks, examine_calls, examine_lanes
from relay.doctor.certificates import examine_certificates
from relay.doctor.egress import examine_egress, examine_ingress
from relay.doctor.finding import Finding, Level, judged
from relay.doctor.installation import examine_descriptors, examine_installation
from relay.doctor.registrations import examine_registrations
from relay.doctor.servers import examine_servers
from relay.errors import SettingsError, Unavailable
from relay.queue import LANES
from relay.settings import ENV_FILE, Settings, unknown_names
from relay.settings.environ import read_env_file
from relay.store.backups.epoch import is_fenced
from relay.store.counts.backlog import Backlog
from relay.store.health.readiness import read_health
from relay.store.partitions.format import format_of, format_refusal
from relay.store.server.errors import FENCED_SENTENCE
from relay.up.datadir import RING_FILES, SECRET_FILES
from relay.up.embedded import ADMIN_URL_FILE, CONFIGURATION_FILE, admin_url
from relay.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from relay.store.partitions.reachable import Silence
    from relay.wiring.runtime import Runtime

#: The oldest releases without known holes or faults that matter here (security, "Version floors").
VERSION_FLOORS: Final = {
    "celery": (5, 6),
    "flower": (2, 2),
    "marshmallow": (4, 1, 2),
    "urllib3": (2, 8),
    "requests": (2, 33),
    "tornado": (6, 5),
}


def examine(data_dir: Path, settings: Settings, runtime: Runtime) -> Iterator[Finding]:
    """Yield the findings of every check, each after those of the checks that it depends on."""
    yield from _versions()
    yield from _names()
    if (data_dir / ENV_FILE).exists():  # otherwise no `relay up` runs here, and the settings come from the environment
        yield from _data_dir(data_dir, settings)
        yield from examine_installation(data_dir)
    yield from examine_descriptors(settings, data_dir)
    yield examine_ingress(settings)
    yield examine_egress(settings)
    yield from examine_certificates(settings)
    try:
        url = settings.store_url.reveal()
        health = read_health(url, admin_url(data_dir, url), runtime.keyspace)
    except Unavailable as error:
        yield Finding("redis", Level.PROBLEM, error.message, "Start it, or correct RELAY_REDIS_URL and its password.")
        yield from _key_rings(settings)
        return
    yield from examine_servers(health, settings.store_replicas)
    if health.rest is not None:
        advice = "Start its servers again: until then workers, registrations and calls cannot be checked."
        yield Finding("store", Level.PROBLEM, health.rest.message, advice)
        yield from _key_rings(settings)
        return
    if runtime.keyspace.partitions > 1:
        yield _partitions(runtime.keyspace.partitions, health.silence)
    found = format_of(url, runtime.keyspace)
    yield judged("format", not format_refusal(found), str(found or "not known"), format_refusal(found))
    if format_refusal(found):
        return
    if not health.silence.shared and is_fenced(url):
        yield Finding("restore", Level.PROBLEM, FENCED_SENTENCE, "docs/backup.md has the steps.")
    yield from examine_lanes(health.workers, Backlog(runtime.client, runtime.keyspace).of(LANES))
    yield from _key_rings(settings)
    yield from _contents(settings, runtime, health.plugins)


def _partitions(count: int, silence: Silence) -> Finding:
    advice = "Start their servers again; what is in them is missing in the findings below."
    return judged("partitions", not silence, silence.sentence if silence else f"all {count} answer", advice)


def _contents(settings: Settings, runtime: Runtime, plugins: Sequence[str]) -> Iterator[Finding]:
    """Yield the findings on what plugins have in the store, as far as the key rings at hand open it."""
    if settings.target_keys is not None:
        yield from examine_registrations(runtime, plugins)
    if settings.data_keys is not None:
        yield from examine_calls(runtime, plugins)
        yield examine_alerts(runtime)
        yield examine_callbacks(runtime, plugins)
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
    if unknown := ", ".join(unknown_names()):
        yield Finding("settings", Level.NOTE, f"unknown: {unknown}", "`relay settings` lists the known names.")


def _data_dir(data_dir: Path, settings: Settings) -> Iterator[Finding]:
    names = (ENV_FILE, *SECRET_FILES.values(), CONFIGURATION_FILE, ADMIN_URL_FILE)
    paths = [data_dir, *(data_dir / name for name in names if (data_dir / name).exists())]
    loose = [path.name for path in paths if path.stat().st_mode & 0o077]
    found = f"readable by others: {', '.join(loose)}" if loose else "readable by its owner only"
    advice = "Run `chmod go=` on them; if others may have read them, change the keys."
    yield judged("data directory", not loose, found, advice)
    advice = "Back them up apart from the data: without them registrations and contents are lost."
    places = dict.fromkeys(_place(name, data_dir, settings) for name in RING_FILES)
    yield Finding("back-up", Level.NOTE, f"the keys are in {' and '.join(places)}", advice)


def _place(name: str, data_dir: Path, settings: Settings) -> str:
    """Return where the key ring of a setting is."""
    if name in settings.files:
        return str(settings.files[name])
    if (data_dir / RING_FILES[name]).exists():
        return RING_FILES[name]
    return ENV_FILE if read_env_file(data_dir / ENV_FILE).get(name) else "the environment"


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
