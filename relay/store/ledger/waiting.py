"""The calls that no worker has taken yet: a list per lane and partition, which workers take them from in groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay.errors import Unavailable
from relay.store.keys.names import partition_root
from relay.store.ledger.transitions import found_from
from relay.store.partitions.reachable import ask_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import redis

    from relay.store.keys.keyspace import Keyspace
    from relay.store.ledger.acceptance import LaneMessage
    from relay.store.ledger.transitions import CallRecord, Ready
    from relay.store.partitions.spreading import Spread
    from relay.store.scripting.scripts import Scripts

#: The most bytes of sealed payloads in one reply, unless a single call has more.
TAKEN_BYTES: Final = 1024 * 1024


class TakenCalls(NamedTuple):
    """What a worker took: the ids, the records of those that are not final, and whether calls are left."""

    reference_ids: list[str]
    records: list[CallRecord]
    more: bool


class WaitingCalls:
    """Queues calls that may be run, and takes them. Methods raise `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, scripts: Scripts, keys: Keyspace) -> None:
        self._client = client
        self._scripts = scripts
        self._keys = keys

    @property
    def partitions(self) -> int:
        """The number of partitions."""
        return self._keys.partitions

    def queue(
        self, ready: Ready, messages: Callable[[Iterable[str], int], Sequence[LaneMessage]]
    ) -> list[tuple[str, int]]:
        """Append calls to their lanes; ``messages`` makes the messages for some lanes of a partition.

        Returns the lane and the partition of each message that remains to be published. If a partition does not answer,
        a sweep appends its calls later.
        """

        def queue(group: Spread[tuple[str, str]]) -> list[tuple[str, int]]:
            partition, lanes = self._keys.partition_of_ref(group.items[0][0]), by_lane(group.items)
            args: list[object] = []
            for lane, message in messages(lanes, partition):
                args += [lane, message, len(lanes[lane]), *lanes[lane]]
            return to_publish(self._scripts.run("queue", args, group.root), partition)

        replies, left = ask_groups(self._client, ready, lambda each: self._keys.root_of_ref(each[0]), queue)
        if left and not replies:
            raise Unavailable
        return [message for reply in replies for message in reply]

    def take(self, partition: int, lanes: Iterable[str], *, most: int) -> TakenCalls:
        """Take up to ``most`` calls of these lanes off their lists, those of the first lane first."""
        reply = self._scripts.run("take", [most, TAKEN_BYTES, *lanes], partition_root(partition))
        more, refs, rows = reply
        reference_ids = [ref.decode() for ref in refs]
        return TakenCalls(reference_ids, list(found_from(reference_ids, rows)), bool(more))


def by_lane(ready: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Group ids by their lanes."""
    lanes: dict[str, list[str]] = {}
    for reference_id, lane in ready:
        lanes.setdefault(lane, []).append(reference_id)
    return lanes


def to_publish(reply: Sequence[Any], partition: int) -> list[tuple[str, int]]:
    """Read how many messages a script left to publish: each as its lane and partition."""
    pairs = zip(reply[::2], reply[1::2], strict=True)
    return [(lane.decode(), partition) for lane, count in pairs for _ in range(count)]
