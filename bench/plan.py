"""How much a run does: all of it in at most twenty minutes on an idle machine, or a quick one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from bench.readings import BULLMQ, BULLMQ_DUTIES, RELAY

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The others handle a few hundred calls a second, at a constant rate: they get fewer calls, and one round.
FAST: Final = (RELAY, BULLMQ_DUTIES, BULLMQ)


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds, and the sizes of what is measured in each."""

    rounds: int
    rounds_within_s: float  # a round that would not end by then is left out
    awaiting: Sequence[int]  # keep-alive callers
    sustaining: Sequence[int]
    shares: Sequence[int]  # % of what is sustained, in an open loop
    warmup_s: float
    window_s: float
    wrk_s: int
    try_s: float  # of a rate that may be sustained
    tries: int
    tries_again: int  # where an earlier round has found a rate
    bulk: int
    slow_bulk: int
    wave_rounds: int
    wave_calls: int
    wave_s: float

    def bulk_of(self, contender: str) -> int:
        """Return how many calls a contender gets in bulk."""
        return self.bulk if contender in FAST else self.slow_bulk

    def wave_calls_of(self, contender: str) -> int:
        """Return how many queued calls a contender drains."""
        return self.wave_calls if contender in FAST else max(self.wave_calls // 10, 100)

    def rounds_of(self, contender: str) -> int:
        """Return how many rounds a contender plays."""
        return self.rounds if contender in FAST else 1


AWAITING: Final = (1, 4, 16, 64, 256)
SUSTAINING: Final = (1, 4, 16, 64)
SHARES: Final = (25, 50, 75, 90)
#: The rows for which processor time per call is shown.
PROFILED: Final = (*(f"awaited {callers} wrk" for callers in AWAITING), f"open {SHARES[-1]}", "mixed", "bulk")
FULL: Final = Plan(
    rounds=3, rounds_within_s=16.5 * 60, awaiting=AWAITING, sustaining=SUSTAINING, shares=SHARES, warmup_s=0.5,
    window_s=2, wrk_s=3, try_s=4, tries=3, tries_again=2, bulk=20_000, slow_bulk=2_000, wave_rounds=1,
    wave_calls=16_000, wave_s=3,
)  # fmt: skip
QUICK: Final = replace(FULL, rounds=1, wrk_s=2, try_s=3, bulk=10_000, wave_rounds=0, wave_calls=8_000)
