"""Readings: what was measured, which of it counts, medians, and the search for a sustained rate. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, sqrt
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bench.receipts import Lags, Receipts

RELAY: Final = "relay"
CELERY: Final = "celery + requests"
BULLMQ: Final = "bullmq + undici"
BULLMQ_DUTIES: Final = "bullmq, equal duties"
DRAMATIQ: Final = "dramatiq + requests"
TASKIQ: Final = "taskiq + aiohttp"
ARQ: Final = "arq + aiohttp"
STACK: Final = "the stack alone"
#: Kinds of processes, by the beginning of their names.
ENDPOINT: Final = "endpoint"
KINDS: Final = {"endpoint": ENDPOINT, "server": "server", "worker": "workers", "api": "front", "front": "front"}

#: A rate is sustained if the oldest pending call stays younger than this ...
OLDEST_MS: Final = 1_000.0
#: ... for this many seconds: the first are measured, the others extrapolated from the trend.
SUSTAINED_S: Final = 20.0
CLOSE: Final = 1.06  # a search ends when a rate that is kept and one that is not are this close


@dataclass(frozen=True, slots=True)
class Reading:
    """The figures of one row, of one contender in one round. A reading with faults does not count."""

    contender: str
    row: str
    figures: Mapping[str, float | None] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    layout: str = ""


def medians(readings: Iterable[Reading]) -> dict[tuple[str, str], dict[str, float]]:
    """Return the median of each figure of the readings that count, by contender and row."""
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for each in readings:
        if not each.faults:
            row = values.setdefault((each.contender, each.row), {})
            for name, value in each.figures.items():
                if value is not None:
                    row.setdefault(name, []).append(value)
    return {key: {name: median(found) for name, found in row.items()} for key, row in values.items()}


def percentile(values: Iterable[float], percent: float) -> float | None:
    """Return the smallest value that at least ``percent`` % of values do not exceed (nearest rank); None for none."""
    ordered = sorted(values)
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(int(rank), 1) - 1]


def receipt_faults(receipts: Receipts, *, calls: int, digest: str | None = None) -> list[str]:
    """Return the differences between the calls that were made and the calls that the endpoint received."""
    faults = []
    if receipts.unnamed:
        faults.append(f"{receipts.unnamed} receipts without an id")
    if receipts.doubled:
        faults.append(f"{receipts.doubled} calls doubled")
    if receipts.distinct < calls:
        faults.append(f"{calls - receipts.distinct} calls lost")
    elif receipts.distinct > calls or digest not in {None, receipts.digest}:
        faults.append("the ids received are not the ids called")
    return faults


def caller_faults(summary: Mapping[str, Any]) -> list[str]:
    """Return what was wrong with the answers that callers (``bench.callers``) got."""
    faults = [f"{count} x {text}" for text, count in summary["faults"].items()]
    return faults if summary["answers"] else [*faults, "no answers"]


def cpu_a_call(before_s: Mapping[str, float], after_s: Mapping[str, float], calls: int) -> dict[str, float]:
    """Return microseconds of processor a call for each kind of process; empty without calls.

    A process that has been restarted since counts from its start.
    """
    used: dict[str, float] = {}
    for name, seconds in after_s.items():
        kind = next((kind for start, kind in KINDS.items() if name.startswith(start)), name)
        earlier_s = before_s.get(name, 0.0)
        used[kind] = used.get(kind, 0.0) + seconds - (earlier_s if seconds >= earlier_s else 0.0)
    return {kind: round(seconds / calls * 1e6, 1) for kind, seconds in used.items()} if calls else {}


@dataclass(frozen=True, slots=True)
class Attempt:
    """A rate that was tried: what was accepted, what the endpoint received meanwhile, and whether it kept up."""

    accepted_per_s: float
    received_per_s: float
    kept: bool


def keeps_up(lags: Lags, sent_s: float) -> bool:
    """Return whether no call waited for a second, and none would within ``SUSTAINED_S`` if the trend goes on.

    The trend is that between the first and the last third of what was received.
    """
    if not lags.receipts or lags.most_ms >= OLDEST_MS:
        return False
    a_second = (lags.late_ms - lags.early_ms) / (sent_s * 2 / 3)
    return lags.late_ms + max(0.0, a_second) * (SUSTAINED_S - sent_s) < OLDEST_MS


def search(attempt: Callable[[float | None], Attempt], tries: int, guess_per_s: float | None = None) -> Search:
    """Return the highest rate that was kept in ``tries``, after a first try in which callers are not held back.

    With a guess, the first try is left out. If nothing was kept, three lower rates are tried.
    """
    flat_out = attempt(None) if guess_per_s is None else None
    if flat_out and flat_out.kept:
        return Search(flat_out.accepted_per_s, flat_out.accepted_per_s, held_back=False)
    accepted_per_s = flat_out.accepted_per_s if flat_out else None
    low, high = 0.0, accepted_per_s or inf
    # The first guess is the rate received meanwhile, unless hardly anything was received.
    rate = max(flat_out.received_per_s, flat_out.accepted_per_s / 10, 1.0) if flat_out else guess_per_s or 1.0
    for number in range(tries + 3):
        if number >= tries and low:
            break
        found = attempt(rate)
        if found.kept:
            low = max(low, found.accepted_per_s)
        else:
            high = min(high, rate)
        if low and high / low < CLOSE:
            break
        rate = rate * 0.75 if not low else low * 1.2 if high == inf else sqrt(low * high)
    return Search(low, accepted_per_s, held_back=True)


@dataclass(frozen=True, slots=True)
class Search:
    """The highest sustained rate, and the rate accepted from callers that are not held back, if that was tried."""

    sustained_per_s: float
    accepted_per_s: float | None
    held_back: bool
