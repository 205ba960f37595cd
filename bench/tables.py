"""The results of a run as Markdown tables, ready for docs/benchmarks.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.comparison import compared
from bench.plan import AWAITING, PROFILED, SHARES, SUSTAINING
from bench.readings import BULLMQ_DUTIES, CELERY, RELAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.comparison import Beside

MARKS: Final = {True: "met", False: "**missed**", None: ""}
NONE: Final = "-"


def all_tables(found: Mapping[tuple[str, str], Mapping[str, float]], contenders: Sequence[str]) -> Iterator[str]:
    """Yield every table that has figures; the comparison comes last."""
    shipped = [name for name in contenders if any(key == name and "waves" not in row for key, row in found)]
    if shipped:
        yield _awaited(found, shipped)
        yield _sustained(found, shipped)
        yield _bulk_and_mixed(found, shipped)
        yield _open(found, shipped)
        yield _processor(found, shipped)
    if any("waves" in row for _, row in found):
        yield _waves(found, contenders)
    if shipped:
        yield _comparison(found)


def _awaited(found: Mapping[tuple[str, str], Mapping[str, float]], names: Sequence[str]) -> str:
    rows = []
    for name in names:
        for suffix, tool in ((" wrk", "wrk"), ("", "the bench's callers")):
            cells = [found.get((name, f"awaited {count}{suffix}"), {}) for count in AWAITING]
            rows.append([f"{name}, {tool}", *map(_answered, cells)])
    return _table(["awaited calls/s (median ms), callers:", *map(str, AWAITING)], rows)


def _answered(figures: Mapping[str, float]) -> str:
    share = figures.get("told_to_wait", 0.0)
    return _of(figures, "rate_per_s", "p50_ms") + (f", {share:.0%} of all 202" if share else "")


def _sustained(found: Mapping[tuple[str, str], Mapping[str, float]], names: Sequence[str]) -> str:
    rows = []
    for name in names:
        cells = [found.get((name, f"sustained {count}"), {}) for count in SUSTAINING]
        rows.append([f"{name}, sustained", *(_of(each, "rate_per_s") for each in cells)])
        rows.append([f"{name}, accepted", *(_of(each, "accepted_per_s") for each in cells)])
    return _table(["single calls/s, callers:", *map(str, SUSTAINING)], rows)


def _bulk_and_mixed(found: Mapping[tuple[str, str], Mapping[str, float]], names: Sequence[str]) -> str:
    rows = []
    for name in names:
        bulk, mixed = found.get((name, "bulk"), {}), found.get((name, "mixed"), {})
        times = _of(mixed, "rate_per_s", "p50_ms", "p99_ms")
        rows.append([name, _of(bulk, "accepted_per_s"), _of(bulk, "drained_per_s"), times])
    heads = ["", "accepted in bulk/s", "drained meanwhile/s", "mixed, requests/s (awaited: median, 99 % ms)"]
    return _table(heads, rows)


def _open(found: Mapping[tuple[str, str], Mapping[str, float]], names: Sequence[str]) -> str:
    rows = []
    for name in names:
        cells = [found.get((name, f"open {share}"), {}) for share in SHARES]
        rows.append([f"{name}, accepted", *(_of(each, "rate_per_s", "p50_ms", "p99_ms") for each in cells)])
        pending = [_of(each, "pending_p50_ms", "pending_p99_ms") for each in cells]
        rows.append([f"{name}, until it is sent, ms", *pending])
    heads = [f"{share} % of what it sustains" for share in SHARES]
    return _table(["open loop: calls/s (median, 99 % ms)", *heads], rows)


def _processor(found: Mapping[tuple[str, str], Mapping[str, float]], names: Sequence[str]) -> str:
    rows = []
    for name in names:
        for part in ("front", "server", "workers", "flower"):
            cells = [found.get((name, row), {}) for row in PROFILED]
            if any(f"{part}_us" in each for each in cells):
                rows.append([f"{name}, {part}", *(_of(each, f"{part}_us") for each in cells)])
    return _table(["processor time a call, us", *PROFILED], rows)


def _waves(found: Mapping[tuple[str, str], Mapping[str, float]], names: Sequence[str]) -> str:
    heads = ["by hand, in waves", "drain, calls/s", "await, answers/s, 64 callers", "single accepts/s, 64 callers"]
    rows = []
    for name in names:
        cells = [found.get((name, f"waves {workload}"), {}) for workload in ("drain", "await", "accept")]
        rows.append([name, *(_wave(each) for each in cells)])
    return _table(heads, rows)


def _wave(figures: Mapping[str, float]) -> str:
    if "rate_per_s" not in figures:
        return ""
    parts = [_number(figures["rate_per_s"]), f"{figures.get('cpu_us', 0):,.0f} us"]
    if "p50_ms" in figures:
        parts.append(f"p50 {figures['p50_ms']:.0f} ms")
    return ", ".join(parts)


def _comparison(found: Mapping[tuple[str, str], Mapping[str, float]]) -> str:
    heads = ["row", RELAY]
    for peer in (BULLMQ_DUTIES, CELERY):
        heads += [peer, "ratio", "target", ""]
    rows = []
    for each in compared(found):
        cells = [part for beside in each.beside for part in _beside(beside, each.unit)]
        rows.append([each.title, _number(each.ours, each.unit), *cells, *[""] * (8 - len(cells))])
    return _table(heads, rows)


def _beside(beside: Beside, unit: str) -> list[str]:
    theirs = _number(beside.theirs, unit)
    ratio = NONE if beside.ratio is None else f"{beside.ratio:.2f} x"
    wanted = NONE if beside.wanted is None else f"{beside.wanted:g} x"
    return [f"one: {theirs}" if beside.peer == RELAY else theirs, ratio, wanted, MARKS[beside.met]]


def _of(figures: Mapping[str, float], first: str, *others: str) -> str:
    """Return one figure, followed by others in brackets."""
    if first not in figures:
        return NONE
    more = ", ".join(f"{figures[name]:,.1f}" for name in others if name in figures)
    return _number(figures[first]) + (f" ({more})" if more else "")


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return NONE
    return (f"{value:,.1f}" if value < 20 else f"{value:,.0f}") + unit


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
