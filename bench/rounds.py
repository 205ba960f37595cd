"""Evaluates rounds: which ones count, their medians, and the targets met or missed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.receipts import Receipts

Workload = Literal["drain", "await", "accept"]
Fsync = Literal["always", "everysec"]

RELAY: Final = "relay"
CELERY: Final = "celery + requests"
BULLMQ: Final = "bullmq + undici"
BULLMQ_DUTIES: Final = "bullmq, equal duties"
DRAMATIQ: Final = "dramatiq + requests"
TASKIQ: Final = "taskiq + aiohttp"
ARQ: Final = "arq + aiohttp"
FSYNC_THAT_COUNTS: Final[Fsync] = "always"
#: Kinds of processes, by the beginning of their names.
ENDPOINT: Final = "endpoint"
KINDS: Final = {"endpoint": ENDPOINT, "server": "server", "worker": "workers", "api": "front", "front": "front"}


@dataclass(frozen=True, slots=True)
class Round:
    """One run of one workload by one contender. A round with faults does not count."""

    contender: str
    workload: Workload
    fsync: Fsync
    variant: str
    calls: int
    rate_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    faults: tuple[str, ...]
    cpu_us: Mapping[str, float] = field(default_factory=dict)  # for a call, by kind of process

    @property
    def counts(self) -> bool:
        return not self.faults


@dataclass(frozen=True, slots=True)
class Standing:
    """The median of a contender's counted rounds in one workload under one Redis setting."""

    contender: str
    workload: Workload
    fsync: Fsync
    variant: str
    calls: int
    rate_per_s: float
    slowest_per_s: float
    fastest_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    counted: int
    played: int
    cpu_us: Mapping[str, float] = field(default_factory=dict)

    @property
    def cpu_us_in_all(self) -> float:
        """Microseconds of processor a call, without the endpoint's."""
        return sum(used for name, used in self.cpu_us.items() if name != ENDPOINT)


@dataclass(frozen=True, slots=True)
class Target:
    """The relay's rate should be at least ``factor`` times the peer's."""

    workload: Workload
    peer: str
    factor: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a target was met; ``ratio`` is None if either side has no round that counts."""

    target: Target
    fsync: Fsync
    ratio: float | None

    @property
    def counts(self) -> bool:
        return self.fsync == FSYNC_THAT_COUNTS

    @property
    def met(self) -> bool | None:
        return None if self.ratio is None else self.ratio >= self.target.factor


TARGETS: Final = (
    Target("drain", BULLMQ_DUTIES, 1.5),
    Target("await", BULLMQ_DUTIES, 1.5),
    Target("accept", BULLMQ_DUTIES, 1.0),
    Target("accept", BULLMQ, 1.0),
    Target("drain", BULLMQ, 0.75),
    Target("await", BULLMQ, 0.9),
    Target("drain", CELERY, 10.0),
    *(Target(workload, peer, 1.0) for peer in (DRAMATIQ, TASKIQ, ARQ) for workload in ("drain", "await")),
    Target("await", CELERY, 1.0),
)


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The smallest value that at least ``percent`` % of the values do not exceed (nearest rank); None for none."""
    ordered = sorted(values)
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(int(rank), 1) - 1]


def receipt_faults(receipts: Receipts, *, calls: int, digest: str) -> list[str]:
    """Return the differences between the calls that were made and the calls that the endpoint received."""
    faults = []
    if receipts.unnamed:
        faults.append(f"{receipts.unnamed} receipts without an id")
    if receipts.doubled:
        faults.append(f"{receipts.doubled} calls doubled")
    if receipts.distinct < calls:
        faults.append(f"{calls - receipts.distinct} calls lost")
    elif receipts.digest != digest:
        faults.append("the ids received are not the ids called")
    return faults


def drain_faults(receipts: Receipts, *, calls: int, digest: str, recorded: int, bad_results: int) -> tuple[str, ...]:
    """Return why a drain does not count; empty if it does."""
    faults = receipt_faults(receipts, calls=calls, digest=digest)
    if recorded != calls:
        faults.append(f"{recorded} results recorded of {calls}")
    if bad_results:
        faults.append(f"{bad_results} results are not the endpoint's answer")
    return tuple(faults)


def await_faults(receipts: Receipts, summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Return why a run of awaited calls does not count; empty if it does. ``summary`` is from ``bench.caller``."""
    faults = [f"{count} x {text}" for text, count in summary["faults"].items()]
    if not summary["answers"]:
        faults.append("no answers")
    faults += receipt_faults(receipts, calls=summary["distinct"], digest=summary["digest"])
    return tuple(faults)


def accept_faults(queued: int, summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Return why a run of accepted calls does not count: each answer must stand for one queued call."""
    faults = [f"{count} x {text}" for text, count in summary["faults"].items()]
    if not summary["answers"] or queued != summary["distinct"]:
        faults.append(f"{queued} calls queued of {summary['distinct']} accepted")
    return tuple(faults)


def standings(rounds: Sequence[Round]) -> list[Standing]:
    """Return a standing for each contender, workload and Redis setting that has a round that counts, in order."""
    groups: dict[tuple[str, str, str], list[Round]] = {}
    for played in rounds:
        groups.setdefault((played.workload, played.fsync, played.contender), []).append(played)
    return [_standing(group) for group in groups.values() if any(played.counts for played in group)]


def _standing(group: Sequence[Round]) -> Standing:
    counted = [played for played in group if played.counts]
    rates = [played.rate_per_s for played in counted]
    first = counted[0]
    return Standing(
        contender=first.contender,
        workload=first.workload,
        fsync=first.fsync,
        variant=first.variant,
        calls=int(median(played.calls for played in counted)),
        rate_per_s=median(rates),
        slowest_per_s=min(rates),
        fastest_per_s=max(rates),
        p50_ms=_median_of(played.p50_ms for played in counted),
        p99_ms=_median_of(played.p99_ms for played in counted),
        counted=len(counted),
        played=len(group),
        cpu_us={kind: median(each.cpu_us.get(kind, 0.0) for each in counted) for kind in first.cpu_us},
    )


def _median_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def cpu_a_call(before_s: Mapping[str, float], after_s: Mapping[str, float], calls: int) -> dict[str, float]:
    """Return microseconds of processor a call for each kind of process; empty without calls."""
    used: dict[str, float] = {}
    for name, seconds in after_s.items():
        kind = next((kind for start, kind in KINDS.items() if name.startswith(start)), name)
        used[kind] = used.get(kind, 0.0) + seconds - before_s.get(name, 0.0)
    return {kind: round(seconds / calls * 1e6, 1) for kind, seconds in used.items()} if calls else {}


def verdicts(found: Sequence[Standing], fsync: Fsync, targets: Sequence[Target] = TARGETS) -> list[Verdict]:
    """Return the verdict on each target under one Redis setting."""
    rates: dict[tuple[str, str], float] = {
        (each.workload, each.contender): each.rate_per_s for each in found if each.fsync == fsync
    }
    return [Verdict(target, fsync, _ratio(rates, target)) for target in targets]


def _ratio(rates: Mapping[tuple[str, str], float], target: Target) -> float | None:
    ours = rates.get((target.workload, RELAY))
    theirs = rates.get((target.workload, target.peer))
    return ours / theirs if ours is not None and theirs else None


def best_round(rounds: Sequence[Round]) -> Round | None:
    """Return the fastest round that counts."""
    return max((played for played in rounds if played.counts), key=lambda played: played.rate_per_s, default=None)
