"""Reads how many calls wait in each lane for a worker, and how long the oldest has waited."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from relay.domain.reference_id import REPLAY_PREFIX, reference_time_ms
from relay.store.counts.measures import minutes_to
from relay.store.counts.notes import MINUTE_MS
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.server.clock import time_ms_at
from relay.store.server.errors import store_errors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import redis

#: The first alarms of a lane are nearly always those of its oldest calls; a random sample catches old calls whose
#: alarm was moved on.
_FIRST: Final = 1_000
_ANY: Final = 500
#: How many records are read: the wait of a delayed call counts from when it may be sent, which its record says.
_OLDEST: Final = 20


@dataclass(frozen=True, slots=True)
class LaneBacklog:
    """The number of calls in a lane that no worker has taken yet, and the oldest one's wait; None without any."""

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

    def of(self, lanes: Iterable[str]) -> list[LaneBacklog]:
        """Return the backlog of each of these lanes."""
        return [self._of_one(lane) for lane in lanes]

    def minutes(self, lanes: Collection[str], since_ms: int) -> list[BacklogMinute]:
        """Return every minute from ``since_ms`` to the current one, at most a day's."""
        with store_errors():
            now_ms = time_ms_at(self._client, SHARED_ROOT)
        numbers = minutes_to(now_ms, since_ms)
        pipeline = self._client.pipeline(transaction=False)
        for number in numbers:
            for partition in range(self._keys.partitions):
                pipeline.hmget(self._keys.backlog(number, partition), lanes)
        with store_errors():
            rows = iter(pipeline.execute())
        return [
            BacklogMinute(number * MINUTE_MS, _together(lanes, islice(rows, self._keys.partitions)))
            for number in numbers
        ]

    def _of_one(self, lane: str) -> LaneBacklog:
        pipeline = self._client.pipeline(transaction=False)
        for number in range(self._keys.partitions):
            key = self._keys.due_queued(lane, number)
            pipeline.zcard(key)
            pipeline.zrange(key, 0, _FIRST - 1)
            pipeline.zrandmember(key, _ANY)
        with store_errors():
            now_ms = time_ms_at(self._client, SHARED_ROOT)
            found = pipeline.execute()
        pending, firsts, somes = sum(found[::3]), found[1::3], found[2::3]
        since_ms = self._since_ms({ref.decode() for refs in (*firsts, *somes) for ref in refs or ()})
        return LaneBacklog(lane, int(pending), None if since_ms is None else max(0, now_ms - since_ms))

    def _since_ms(self, reference_ids: set[str]) -> int | None:
        """Return since when the longest-waiting of these calls has waited."""
        calls = (ref for ref in reference_ids if not ref.startswith(REPLAY_PREFIX))
        oldest = sorted(calls, key=lambda ref: reference_time_ms(ref) or 0)[:_OLDEST]
        if not oldest:
            return None
        pipeline = self._client.pipeline(transaction=False)
        for ref in oldest:
            pipeline.hmget(self._keys.record(ref), "createdAt", "notBefore")
        with store_errors():
            rows = pipeline.execute()
        return min((max(int(created), int(first or 0)) for created, first in rows if created), default=None)


def _together(lanes: Iterable[str], rows: Iterable[Sequence[bytes | None]]) -> dict[str, int | None]:
    """Return the sum of what the partitions noted for each lane in a minute; None if no partition noted anything."""
    by_lane = zip(lanes, zip(*rows, strict=True), strict=True)
    noted = ((lane, [int(each) for each in found if each is not None]) for lane, found in by_lane)
    return {lane: sum(found) if found else None for lane, found in noted}
