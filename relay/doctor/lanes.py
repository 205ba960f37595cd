"""Checks which workers serve the lanes, and how long calls wait in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.doctor.finding import Finding, Level, judged
from relay.queue import LANES
from relay.store.health.workers import workers_by_lane

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.store.counts.backlog import LaneBacklog
    from relay.store.health.workers import LiveWorker

#: A call that has waited longer than this many seconds probably needs an operator.
LONG_S: Final = 900
_SEE_ABOVE: Final = "See the findings above."


def examine_lanes(workers: Sequence[LiveWorker] | None, backlogs: Sequence[LaneBacklog]) -> Iterator[Finding]:
    """Yield the findings on the workers, None if these are not known, and on the calls that wait in each lane."""
    if workers is None:
        yield Finding("workers", Level.PROBLEM, "not known: their heartbeats are among the shared keys", _SEE_ABOVE)
    else:
        yield judged(
            "workers",
            bool(workers),
            ", ".join(worker.name for worker in workers) or "none is alive",
            "Start some: `relay up`, or the worker lines of the Procfile. Until then triggers are kept and wait.",
        )
    counts = dict.fromkeys(LANES) if workers is None else workers_by_lane(workers, LANES)
    for backlog in backlogs:
        yield _lane(backlog, counts[backlog.lane])


def _lane(backlog: LaneBacklog, workers: int | None) -> Finding:
    check, oldest_s = f"lane {backlog.lane}", (backlog.oldest_ms or 0) / 1000
    served = "" if workers is None else f"{workers} worker{'' if workers == 1 else 's'}, "
    found = f"{served}{backlog.pending} waiting"
    if backlog.pending:
        found += f", the oldest for {oldest_s:.0f} s"
    if workers == 0:
        return Finding(
            check, Level.PROBLEM, found, "Start a worker for it (in the Procfile, `-Q` names a worker's lanes)."
        )
    if oldest_s > LONG_S:
        advice = (
            "`relay webhooks show` says what holds calls back; if nothing does, add workers (`relay up --workers`)."
        )
        return Finding(check, Level.NOTE, found, advice)
    return Finding(check, Level.OK, found)
