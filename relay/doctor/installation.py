"""Checks an installation: what its processes may open, the room on its disk, and the processes that were restarted."""

from __future__ import annotations

import os
import resource
import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from relay.doctor.finding import SHARES, Finding, Level, graded, judged, listed
from relay.process.descriptors import BESIDE_CALLS, BESIDE_CONNECTIONS
from relay.up.child import processes_of
from relay.up.restarts import Restarts, read_restarts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.settings import Settings

_MIB: Final = 1 << 20
#: A disk with less free space than this is a problem: it may be full before an operator looks again.
LEAST_FREE_BYTES: Final = 256 * _MIB
#: A disk with less free space than this is worth a note.
LITTLE_FREE_BYTES: Final = 1024 * _MIB
#: A process that ended this often, the last time within `LATELY_S`, keeps ending, which is a problem.
OFTEN: Final = 5
LATELY_S: Final = 3600.0


def examine_installation(data_dir: Path) -> Iterator[Finding]:
    """Yield the findings on a data directory of `relay up`."""
    yield _disk(data_dir)
    yield from _inodes(data_dir)
    restarts = read_restarts(data_dir)
    if restarts is not None:
        yield _restarts(restarts)


def examine_descriptors(settings: Settings, data_dir: Path) -> Iterator[Finding]:
    """Yield the findings on the processes of `relay up`; without any, on one that is started as this one was."""
    running = list(_running(data_dir))
    needed = max(settings.max_in_flight + BESIDE_CALLS, settings.max_connections + BESIDE_CONNECTIONS)
    limits = [hard for _, _, hard in running] or [resource.getrlimit(resource.RLIMIT_NOFILE)[1]]
    few = [limit for limit in limits if limit != resource.RLIM_INFINITY and limit < needed]
    found = f"a process may need {needed}" + (f", and is allowed {min(few)}" if few else "")
    advice = (
        "Raise the limit (`ulimit -Hn`, LimitNOFILE, ulimits), or lower RELAY_MAX_CONNECTIONS, RELAY_MAX_IN_FLIGHT."
    )
    yield judged("descriptors", not few, found, advice)
    if running:
        shares = sorted(((share, name) for name, share, _ in running), reverse=True)
        found = listed([f"{name}: {share:.0%}" for share, name in shares if share >= SHARES[0]])
        advice = "Start `relay up` with a higher limit (`ulimit -n`): a process at its limit takes no connections."
        most = shares[0][0]
        yield graded("open files", most, SHARES, found or f"at most {most:.0%} of a process's limit", advice)


def _running(data_dir: Path) -> Iterator[tuple[str, float, int]]:
    """Yield each process of `relay up`, the share of its limit of open files that it uses, and its highest limit."""
    for pid in processes_of(data_dir.resolve()):
        with suppress(OSError):  # it has ended meanwhile
            process = Path(f"/proc/{pid}")
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            name = (process / "comm").read_text(encoding="utf-8").strip()
            yield f"{name} (pid {pid})", len(list((process / "fd").iterdir())) / soft, hard


def _disk(data_dir: Path) -> Finding:
    free = shutil.disk_usage(data_dir).free
    kept = sum(path.stat().st_size for path in data_dir.rglob("*.aof"))
    found = f"{free // _MIB} MiB free, {kept // _MIB} MiB of records"
    if free < max(LEAST_FREE_BYTES, kept):  # the server rewrites its file beside the old one
        advice = "Free some space: the server rewrites its append-only file beside the old one."
        return Finding("disk", Level.PROBLEM, found, advice)
    advice = "Free some space: a full disk stops everything."
    return judged("disk", free >= LITTLE_FREE_BYTES, found, advice, Level.NOTE)


def _inodes(data_dir: Path) -> Iterator[Finding]:
    """Yield the share of inodes in use; nothing if the file system makes them as needed."""
    disk = os.statvfs(data_dir)
    most = disk.f_files - disk.f_ffree + disk.f_favail
    if most:
        share = 1 - disk.f_favail / most
        advice = "Delete files: without free inodes the server cannot rewrite its append-only file."
        yield graded("inodes", share, SHARES, f"{share:.0%} used", advice)


def _restarts(restarts: list[Restarts]) -> Finding:
    if not restarts:
        return Finding("restarts", Level.OK, "nothing ended unexpectedly")
    found = "; ".join(
        f"{each.name} {_often(each.count)}, last {_at(each.last_at_s)} ({each.last_end})"
        for each in sorted(restarts, key=lambda each: -each.count)
    )
    keeps_ending = [each for each in restarts if each.count >= OFTEN and time.time() - each.last_at_s < LATELY_S]
    advice = "Its log in the data directory says why. Exit status 71: a part of it made no progress."
    return Finding("restarts", Level.PROBLEM if keeps_ending else Level.NOTE, found, advice)


def _often(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _at(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
