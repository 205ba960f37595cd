"""Replay jobs as the store keeps them: made, read, paused, resumed, cancelled, and run by whoever holds the lease."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from relay.store.listing import Filter

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

    from relay.store.transitions import Ready


class ReplayState(StrEnum):
    """Where a job is."""

    PLANNING = "planning"  # its originals are being collected
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"  # what it created and had not sent is cancelled, the rest skipped
    DONE = "done"  # matched = delivered + failed + skipped


class Skip(StrEnum):
    """Why an original was not sent again."""

    REPLAYED = "replayed"  # since replayed with success, or in this very job
    BEING_REPLAYED = "being_replayed"
    UNCERTAIN = "uncertain"
    EXPIRED = "expired"  # record or contents have passed their retention, or are of no (such) invocation
    FORGOTTEN = "forgotten"
    NOT_FINAL = "not_final"  # or final only after the job was made
    CHAIN_STEP = "chain_step"
    UNREADABLE = "unreadable"  # its contents do not open with the keys at hand
    CANCELLED = "cancelled"  # the job was cancelled before its turn


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """A job as it stands. Once it is done matched = delivered + failed + skipped."""

    replay_id: str
    plugin: str
    state: ReplayState
    matched: int | None  # None while planning
    started: int
    delivered: int  # answers under 400
    failed: int  # all other final states
    skipped: int
    skipped_reasons: Mapping[str, int]  # by Skip
    rate_per_second: float | None  # None: as fast as it goes
    include_uncertain: bool
    max: int | None
    created_at_ms: int
    finished_at_ms: int | None
    caller: str | None = None  # id of the API key that made it, `cli` for a command
    filter: Filter = field(default_factory=Filter)
    by_hand: bool = False  # of reference ids that were given, not of a filter

    @property
    def over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.finished_at_ms is not None


class ReplayStore:
    """Jobs of plugins. Every method raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client

    def get(self, plugin: str, replay_id: str) -> ReplayJob:
        """A job of a plugin; raises `NotFound`."""
        raise NotImplementedError

    def list(self, plugin: str, *, limit: int = 50) -> list[ReplayJob]:
        """A plugin's jobs, newest first."""
        raise NotImplementedError

    def pause(self, plugin: str, replay_id: str) -> ReplayJob:
        """Send nothing more; a paused one stays so. Raises `NotFound`, and `Conflict` where it is over or planning."""
        raise NotImplementedError

    def resume(self, plugin: str, replay_id: str) -> tuple[ReplayJob, Ready]:
        """Go on, and what the caller is to publish; raises as `pause`."""
        raise NotImplementedError

    def cancel(self, plugin: str, replay_id: str) -> tuple[ReplayJob, Ready]:
        """Stop for good, and what the caller is to publish; a cancelled one stays so. Raises `NotFound`, `Conflict`."""
        raise NotImplementedError
