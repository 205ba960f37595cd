"""Whether the server's clock goes on as it did: after a failover another machine's clock counts the leases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

#: What two machines that keep their time may differ by.
MOST_OFF_MS: Final = 2_000
#: An answer that was so long under way says too little of when it was given.
MOST_UNDER_WAY_S: Final = 0.5
#: For how long warnings name a jump.
TOLD_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class ClockJump:
    """The server's clock does not show what was to be expected."""

    at_ms: int  # by the clock as it is since
    by_ms: int

    @property
    def sentence(self) -> str:
        """For people."""
        at = datetime.fromtimestamp(self.at_ms / 1000, UTC)
        return f"the server's clock jumped by {self.by_ms / 1000:+.1f} s at {at:%H:%M:%S} UTC"

    def to_text(self) -> str:
        """Write it as the store keeps it."""
        return f"{self.at_ms} {self.by_ms}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what ``to_text`` wrote."""
        at_ms, by_ms = map(int, text.split())
        return cls(at_ms, by_ms)


class ServerClock:
    """Compares what the server's clock shows with a clock of this machine that never jumps."""

    def __init__(self) -> None:
        self._offset_ms: float | None = None

    def note(self, server_ms: int, asked_s: float, answered_s: float) -> ClockJump | None:
        """Note what the server's clock showed between these two moments; return the jump, if it is one."""
        if answered_s - asked_s > MOST_UNDER_WAY_S:
            return None
        offset_ms = server_ms - (asked_s + answered_s) / 2 * 1000
        before_ms, self._offset_ms = self._offset_ms, offset_ms
        if before_ms is None or abs(offset_ms - before_ms) <= MOST_OFF_MS:
            return None
        return ClockJump(server_ms, round(offset_ms - before_ms))
