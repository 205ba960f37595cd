"""Checks whether processes may open as many files and connections as they need, and how many are open."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from relay.doctor.finding import SHARES, Finding, graded, judged, listed
from relay.process.descriptors import BESIDE_CALLS, BESIDE_CONNECTIONS
from relay.up.child import processes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.settings import Settings


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
    """Yield each process of `relay up`, which share of its limit of open files it uses, and its highest limit."""
    for pid in processes_of(data_dir.resolve()):
        with suppress(OSError):  # it has ended meanwhile
            process = Path(f"/proc/{pid}")
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            name = (process / "comm").read_text(encoding="utf-8").strip()
            yield f"{name} (pid {pid})", len(list((process / "fd").iterdir())) / soft, hard
