"""Reads the server's clock, and notices its jumps: after a failover, leases are counted by another machine's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self, cast

from redis.cluster import RedisCluster

from relay.store.server.errors import store_errors
from relay.store.server.replicas import on_primary

if TYPE_CHECKING:
    import redis

#: How much the clocks of two machines may differ if both keep time, in milliseconds.
MOST_OFF_MS: Final = 2_000
#: A clock that goes back by this much at most, in milliseconds, is ignored: it delays nothing for longer than this.
UNNOTICED_MS: Final = 1_000
#: If an answer took longer than this, in seconds, it is not known precisely enough when it was given.
MOST_UNDER_WAY_S: Final = 0.5
#: How long warnings mention a jump, in milliseconds.
TOLD_MS: Final = 3_600_000


def time_ms_of(server: redis.Redis) -> int:
    """Return the time by a server's clock, in milliseconds since the epoch."""
    return time_ms_from(server.time())


def time_ms_at(client: Any, root: str) -> int:
    """Return the time by the clock of the server that has a root, in milliseconds since the epoch.

    `TIME` names no key, so a cluster's client would ask any server, even one that does not answer. Raises what
    `store_errors` raises.
    """
    with store_errors():
        if not isinstance(client, RedisCluster):
            return time_ms_of(client)  # redis-py retries it already
        return cast("int", on_primary(client, root, time_ms_of))


def add_time(pipeline: Any, client: Any, root: str) -> None:
    """Add `TIME` to a pipeline of ``client``, for the server that has a root, as in `time_ms_at`."""
    target = {"target_nodes": cast("Any", client).get_node_from_key(root)} if isinstance(client, RedisCluster) else {}
    pipeline.execute_command("TIME", **target)


def time_ms_from(reply: tuple[int, int]) -> int:
    """Convert a reply to `TIME`, which has seconds and microseconds, to milliseconds since the epoch."""
    seconds, micros = reply
    return int(seconds) * 1000 + int(micros) // 1000


def within_ms(time_ms: int, now_ms: int, ahead_ms: int) -> int:
    """Return a stored time, or now if it is further ahead than it can be, as ``lua/lib/runs.lua`` does."""
    return now_ms if time_ms > now_ms + ahead_ms + UNNOTICED_MS else time_ms


@dataclass(frozen=True, slots=True)
class ClockJump:
    """A jump: the server's clock shows another time than expected."""

    at_ms: int  # by the clock after the jump
    by_ms: int

    @property
    def sentence(self) -> str:
        """The jump in words, for people."""
        at = datetime.fromtimestamp(self.at_ms / 1000, UTC)
        return f"the server's clock jumped by {self.by_ms / 1000:+.1f} s at {at:%H:%M:%S} UTC"

    def to_text(self) -> str:
        """Return the text that the store keeps for this jump."""
        return f"{self.at_ms} {self.by_ms}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what ``to_text`` wrote. Raises ``ValueError``, or ``OverflowError``, for any other text."""
        at_ms, by_ms = map(int, text.split())
        datetime.fromtimestamp(at_ms / 1000, UTC)  # raises if it is not a time
        return cls(at_ms, by_ms)


class ServerClock:
    """Compares the server's clock with a clock of this machine that never jumps."""

    def __init__(self) -> None:
        self._offset_ms: float | None = None

    def note(self, server_ms: int, asked_s: float, answered_s: float) -> ClockJump | None:
        """Note the server's time between two moments of this machine's clock; return a jump if there was one."""
        if answered_s - asked_s > MOST_UNDER_WAY_S:
            return None
        offset_ms = server_ms - (asked_s + answered_s) / 2 * 1000
        before_ms, self._offset_ms = self._offset_ms, offset_ms
        if before_ms is None or abs(offset_ms - before_ms) <= MOST_OFF_MS:
            return None
        return ClockJump(server_ms, round(offset_ms - before_ms))
