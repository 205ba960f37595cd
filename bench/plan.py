"""How much a run does: the full one, and the quick one that only shows that everything works."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from bench.rounds import BULLMQ, CELERY, RELAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.rounds import Fsync, Workload

CALLERS: Final = 64
#: A contender gets fewer calls to drain if by its trial they would take longer: a run has to end.
LONGEST_DRAIN_S: Final = 90.0
WORKLOADS: Final[tuple[Workload, ...]] = ("drain", "await")
CONTENDERS: Final = (RELAY, BULLMQ, CELERY)


@dataclass(frozen=True, slots=True)
class Sizes:
    """One kind of round: calls to drain, by contender, and seconds of awaited calls."""

    calls: Mapping[str, int]
    warmup_s: float
    window_s: float

    def capped(self, contender: str, rate_per_s: float, longest_s: float) -> Sizes:
        """With no more calls for a contender than it drains in so many seconds, in whole thousands, at least one."""
        most = max(int(rate_per_s * longest_s) // 1_000, 1) * 1_000
        return replace(self, calls={**self.calls, contender: min(self.calls[contender], most)})


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds for each Redis setting, their sizes, and the sizes of the trials that choose each best variant."""

    rounds: Mapping[Fsync, int]
    sizes: Mapping[Fsync, Sizes]
    trial: Sizes | None  # None: the first variant of each contender is taken
    workloads: tuple[Workload, ...] = WORKLOADS
    contenders: tuple[str, ...] = CONTENDERS
    callers: int = CALLERS


def _calls(ours: int, celery: int) -> dict[str, int]:
    return {RELAY: ours, BULLMQ: ours, CELERY: celery}


# Plain Celery drains some hundred calls a second, at the same rate from the first second to the last: under the
# setting that does not count, and in trials, it gets fewer calls, so that a run ends while somebody still waits.
FULL: Final = Plan(
    rounds={"always": 3, "everysec": 3},
    sizes={
        "always": Sizes(_calls(50_000, 50_000), warmup_s=2, window_s=6),
        "everysec": Sizes(_calls(50_000, 5_000), warmup_s=2, window_s=5),
    },
    trial=Sizes(_calls(15_000, 1_500), warmup_s=1, window_s=2),
)
QUICK: Final = Plan(
    rounds={"always": 1, "everysec": 1},
    sizes={
        "always": Sizes(_calls(5_000, 1_000), warmup_s=1, window_s=2),
        "everysec": Sizes(_calls(5_000, 1_000), warmup_s=1, window_s=2),
    },
    trial=None,
)
