"""How much a run does: the full one, and the quick one that only shows that everything works."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from bench.rounds import ARQ, BULLMQ, BULLMQ_DUTIES, CELERY, DRAMATIQ, RELAY, TASKIQ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.rounds import Fsync, Workload

CALLERS: Final = 64
#: Seconds; a contender that would drain for longer, by its trial, gets fewer calls, so that a run ends.
LONGEST_DRAIN_S: Final = 15.0
WORKLOADS: Final[tuple[Workload, ...]] = ("drain", "await", "accept")
CONTENDERS: Final = (RELAY, BULLMQ_DUTIES, BULLMQ, CELERY, DRAMATIQ, TASKIQ, ARQ)
#: Contenders that drain only some hundreds of calls a second, at a constant rate: they get fewer calls.
SLOW: Final = (CELERY, DRAMATIQ, TASKIQ, ARQ)


@dataclass(frozen=True, slots=True)
class Sizes:
    """One kind of round: calls to drain, by contender, and seconds of awaited calls."""

    calls: Mapping[str, int]
    warmup_s: float
    window_s: float

    def capped(self, contender: str, rate_per_s: float, longest_s: float) -> Sizes:
        """Return sizes that a contender drains within ``longest_s``: whole thousands of calls, at least one."""
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


def _calls(ours: int, slow: int) -> dict[str, int]:
    return {name: slow if name in SLOW else ours for name in CONTENDERS}


# Trials are short, and the setting that does not count has one round, so that a run ends in reasonable time.
FULL: Final = Plan(
    rounds={"always": 3, "everysec": 1},
    sizes={
        "always": Sizes(_calls(50_000, 5_000), warmup_s=2, window_s=6),
        "everysec": Sizes(_calls(50_000, 5_000), warmup_s=2, window_s=5),
    },
    trial=Sizes(_calls(8_000, 1_000), warmup_s=1, window_s=2),
)
#: For a machine that has other work, too: short rounds that alternate quickly, the first variant of each contender.
SHORT: Final = Plan(
    rounds={"always": 3},
    sizes={"always": Sizes(_calls(12_000, 800), warmup_s=1, window_s=3)},
    trial=None,
)
QUICK: Final = Plan(
    rounds={"always": 1, "everysec": 1},
    sizes={
        "always": Sizes(_calls(5_000, 1_000), warmup_s=1, window_s=2),
        "everysec": Sizes(_calls(5_000, 1_000), warmup_s=1, window_s=2),
    },
    trial=None,
)
