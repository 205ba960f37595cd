"""Reads how many calls wait for a worker in each lane, and how long the oldest has waited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from relay.domain.reference_id import REPLAY_PREFIX, reference_time_ms
from relay.store.counts.measures import minutes_to
from relay.store.counts.notes import MINUTE_MS
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import key_in, partition_root
from relay.store.partitions.reachable import ask_partitions
from relay.store.server.clock import time_ms_at, time_ms_from
from relay.store.server.errors import store_errors
from relay.store.server.fields import StoredFields
from relay.store.server.replies import replies_to

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import redis

#: The first alarms of a lane are nearly always those of its oldest calls; a random sample catches old calls whose
#: alarm was postponed.
_FIRST: Final = 1_000
_ANY: Final = 500
#: How many records are read: they say from when on the wait of delayed calls and of chains that have begun counts.
_OLDEST: Final = 20


@dataclass(frozen=True, slots=True)
class LaneBacklog:
    """The number of calls in a lane that no worker has taken yet, and the oldest one's wait; None if there are none."""

    lane: str
    pending: int
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class BacklogMinute:
    """The most calls that waited in each lane at once during one minute; None if no worker was alive to count them."""

    start_ms: int
    pending: Mapping[str, int | None]


class Backlog:
    """Reads lanes' alarms, and the counts that sweeps noted. Methods raise `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._client: Any = client

    def of(self, lanes: Sequence[str]) -> list[LaneBacklog]:
        """Return the backlog of each of these lanes, in the partitions that answer."""
        parts = list(ask_partitions(self._client, self._keys, lambda number: self._in(number, lanes)))
        return [_sum_of(lane, [part[place] for part in parts]) for place, lane in enumerate(lanes)]

    def minutes(self, lanes: Collection[str], since_ms: int) -> list[BacklogMinute]:
        """Return every minute from ``since_ms`` to the current one, at most a day's, in the partitions that answer."""

        def noted(number: int) -> dict[int, StoredFields]:
            with store_errors():
                numbers = minutes_to(time_ms_at(self._client, partition_root(number)), since_ms)
            keys = [key_in(partition_root(number), "backlog", minute=minute) for minute in numbers]
            replies = replies_to(self._client, [("HGETALL", key) for key in keys])
            return {
                minute: StoredFields(key, fields) for minute, key, fields in zip(numbers, keys, replies, strict=True)
            }

        parts = list(ask_partitions(self._client, self._keys, noted))
        return [
            BacklogMinute(minute * MINUTE_MS, _together(lanes, [part[minute] for part in parts if minute in part]))
            for minute in sorted({minute for part in parts for minute in part})
        ]

    def _in(self, number: int, lanes: Sequence[str]) -> list[LaneBacklog]:
        commands: list[tuple[Any, ...]] = []
        for lane in lanes:
            key = key_in(partition_root(number), "due_queued", lane=lane)
            commands += ("ZCARD", key), ("ZRANGE", key, 0, _FIRST - 1), ("ZRANDMEMBER", key, _ANY)
        *replies, time = replies_to(self._client, commands, time_of=partition_root(number))
        now_ms = time_ms_from(time)
        found: list[Any] = [0 if isinstance(reply, Exception) else reply for reply in replies]
        rows = zip(lanes, found[::3], found[1::3], found[2::3], strict=True)
        return [self._of_one(lane, count, [*(first or ()), *(some or ())], now_ms) for lane, count, first, some in rows]

    def _of_one(self, lane: str, pending: int, some: Iterable[bytes], now_ms: int) -> LaneBacklog:
        since_ms = self._since_ms({ref.decode("ascii", "replace") for ref in some})
        return LaneBacklog(lane, int(pending), None if since_ms is None else max(0, now_ms - since_ms))

    def _since_ms(self, reference_ids: set[str]) -> int | None:
        """Return when the longest-waiting of these calls began to wait."""
        calls = (ref for ref in reference_ids if not ref.startswith(REPLAY_PREFIX))
        oldest = sorted(calls, key=lambda ref: reference_time_ms(ref) or 0)[:_OLDEST]
        if not oldest:
            return None
        keys = [self._keys.of_ref("record", ref) for ref in oldest]
        replies = replies_to(self._client, [("HGETALL", key) for key in keys])
        records = [StoredFields(key, fields) for key, fields in zip(keys, replies, strict=True) if fields]
        return min((since for each in records if (since := _waits_since_ms(each)) is not None), default=None)


def _waits_since_ms(record: StoredFields) -> int | None:
    """Return when a call began to wait: for a chain that has begun, when its last step ended."""
    created_ms, has_begun = record.number("createdAt"), record.text("chain") and record.text("lastToken")
    first_ms = record.number("readyAt" if has_begun else "notBefore")
    return None if created_ms is None else max(created_ms, first_ms or 0)


def _sum_of(lane: str, parts: Sequence[LaneBacklog]) -> LaneBacklog:
    waits = [part.oldest_ms for part in parts if part.oldest_ms is not None]
    return LaneBacklog(lane, sum(part.pending for part in parts), max(waits, default=None))


def _together(lanes: Iterable[str], rows: Sequence[StoredFields]) -> dict[str, int | None]:
    """Return the sum of what the partitions noted for each lane in a minute; None if no partition noted anything."""
    by_lane = ((lane, [count for row in rows if (count := row.number(lane)) is not None]) for lane in lanes)
    return {lane: sum(counts) if counts else None for lane, counts in by_lane}
