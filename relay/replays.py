"""Use case: plan and start a replay, and steer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.invocation import Invocation
    from relay.store.listing import Filter, Group
    from relay.store.replays import ReplayJob

#: A job of so many is planned before `start` answers; a larger one by workers.
PLANNED_AT_ONCE: Final = 10_000
MAX_RATE: Final = 10_000.0  # a second
SAMPLE: Final = 10  # rows


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be replayed: what a filter takes, or the given ids.

    A filter without states (and without ``error``) takes what failed: ``error`` true.
    """

    filter: Filter | None = None
    reference_ids: Iterable[str] | None = None  # read once, in pages
    include_uncertain: bool = False
    max: int | None = None
    rate_per_second: float | None = None  # None: as fast as it goes


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job would do if it were started now. Nothing was started."""

    plan_id: str  # `start_planned` takes it, for a day
    matched: int
    skipped: int
    skipped_reasons: Mapping[str, int]
    breakdown: list[Group]  # of what matched
    sample: list[Invocation]  # the newest
    estimated_s: float | None  # at the rate; None without one


class Replays:
    """What the API and the commands do with replays. Every method raises `Unavailable` while the store is away."""

    def plan(self, plugin: str, request: Request) -> Plan:
        """What would be replayed. Raises `BadParameter` where neither a filter nor ids are given, or both."""
        raise NotImplementedError

    def start(self, plugin: str, request: Request, *, caller: str) -> ReplayJob:
        """Make a job and let workers run it; ``matched`` is None where more than `PLANNED_AT_ONCE` may match."""
        raise NotImplementedError

    def start_planned(
        self, plugin: str, plan_id: str, *, caller: str, rate_per_second: float | None = None
    ) -> ReplayJob:
        """Start what was planned, of what had ended by then. Raises `NotFound`: no such plan, or older than a day."""
        raise NotImplementedError

    def get(self, plugin: str, replay_id: str) -> ReplayJob:
        """A job; raises `NotFound`."""
        raise NotImplementedError

    def list(self, plugin: str, *, limit: int = 50) -> list[ReplayJob]:
        """A plugin's jobs, newest first."""
        raise NotImplementedError

    def pause(self, plugin: str, replay_id: str) -> ReplayJob:
        """Send nothing more until it is resumed. Raises `NotFound`; `Conflict`: it is over."""
        raise NotImplementedError

    def resume(self, plugin: str, replay_id: str) -> ReplayJob:
        """Go on; raises as `pause`."""
        raise NotImplementedError

    def cancel(self, plugin: str, replay_id: str) -> ReplayJob:
        """Stop for good: what was created and not sent is cancelled, the rest skipped; raises as `pause`."""
        raise NotImplementedError
