"""The final table: where the relay is ahead and where it is behind. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.plan import AWAITING, SUSTAINING
from bench.readings import BULLMQ_DUTIES, CELERY, RELAY

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The relay should reach this many times plain Celery's figure in every row.
BESIDE_CELERY: Final = 10.0


@dataclass(frozen=True, slots=True)
class Aim:
    """A row: the figure that is compared, and how many times the figure of BullMQ with equal duties is wanted."""

    title: str
    row: str
    figure: str
    wanted: float | None
    unit: str = "/s"
    less_is_more: bool = False


AIMS: Final = (
    *(Aim(f"sustained single calls, callers: {n}", f"sustained {n}", "rate_per_s", 1.5) for n in SUSTAINING),
    *(Aim(f"awaited calls, callers: {n}", f"awaited {n}", "rate_per_s", 1.2) for n in AWAITING),
    Aim("drained while accepted in bulk", "bulk", "drained_per_s", 1.5),
    Aim("accepted in bulk", "bulk", "accepted_per_s", 2.0),
    Aim("a lone awaited call, median", "awaited 1", "p50_ms", 1.0, " ms", less_is_more=True),
    Aim("mixed traffic", "mixed", "rate_per_s", None),
)
CALLERS_AIM: Final = 6.0  # awaited calls of 64 callers, compared with those of one


@dataclass(frozen=True, slots=True)
class Beside:
    """The relay beside one peer: ``met`` is None if nothing is wanted, or if either has no figure."""

    peer: str
    theirs: float | None
    ratio: float | None
    wanted: float | None

    @property
    def met(self) -> bool | None:
        return None if self.wanted is None or self.ratio is None else self.ratio >= self.wanted


@dataclass(frozen=True, slots=True)
class Compared:
    """A row of the final table."""

    title: str
    unit: str
    ours: float | None
    beside: tuple[Beside, ...]


def compared(found: Mapping[tuple[str, str], Mapping[str, float]]) -> list[Compared]:
    """Return the final table's rows, from medians by contender and row."""
    rows = [_compared(found, aim) for aim in AIMS]
    one, many = (figure(found, RELAY, f"awaited {callers}", "rate_per_s") for callers in (1, 64))
    times = many / one if one and many else None
    return [*rows, Compared("awaited, 64 callers beside one", "/s", many, (Beside(RELAY, one, times, CALLERS_AIM),))]


def figure(found: Mapping[tuple[str, str], Mapping[str, float]], contender: str, row: str, name: str) -> float | None:
    """Return a median: wrk's, if it was measured with wrk too."""
    return found.get((contender, f"{row} wrk"), found.get((contender, row), {})).get(name)


def _compared(found: Mapping[tuple[str, str], Mapping[str, float]], aim: Aim) -> Compared:
    ours = figure(found, RELAY, aim.row, aim.figure)
    beside = []
    for peer, wanted in ((BULLMQ_DUTIES, aim.wanted), (CELERY, BESIDE_CELERY)):
        theirs = figure(found, peer, aim.row, aim.figure)
        more, less = (theirs, ours) if aim.less_is_more else (ours, theirs)
        beside.append(Beside(peer, theirs, more / less if more is not None and less else None, wanted))
    return Compared(aim.title, aim.unit, ours, tuple(beside))
