"""Counts what all partitions on a single server have together, even while it is being divided."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from relay.store.keys.buckets import LANE, LISTS, SETS, SHARED_BY_PLUGINS
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import PARTITIONED, key_in, partition_root
from relay.store.partitions.plugins import plugins_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCANNED: Final = 10_000  # how many keys one SCAN examines


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """How many plugins, records, calls that are not final, and entries of lists there are."""

    plugins: int
    records: int
    pending: int
    entries: int

    @classmethod
    def read(cls, client: Any, keys: Keyspace) -> Self:
        """Count everything, whether a key still has its name in a single partition, or the one that ``keys`` gives."""
        plugins = plugins_of(client, keys)
        pipeline = client.pipeline(transaction=False)
        for plugin in plugins:
            for index in {SINGLE.of_plugin("plugin_index", plugin), keys.of_plugin("plugin_index", plugin)}:
                pipeline.zcard(index)
        records = sum(pipeline.execute())
        for key, kind in set(_shared_keys(client, keys)):
            count = pipeline.scard if kind in SETS else pipeline.llen if kind in LISTS else pipeline.zcard
            count(key)
        return cls(len(plugins), records, total_pending(client, keys)[0], sum(pipeline.execute()))

    def to_text(self) -> str:
        """Return the counts as text."""
        return " ".join(map(str, astuple(self)))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what ``to_text`` wrote."""
        return cls(*map(int, text.split()))


def total_pending(client: Any, keys: Keyspace) -> tuple[int, int]:
    """Return the number and bytes of calls that are not final, according to the sums of all partitions."""
    pipeline = client.pipeline(transaction=True)
    for number in range(keys.partitions):
        pipeline.hmget(key_in(partition_root(number), "pending"), "count", "bytes")
    rows = pipeline.execute()
    return sum(int(count or 0) for count, _ in rows), sum(int(size or 0) for _, size in rows)


def _shared_keys(client: Any, keys: Keyspace) -> Iterator[tuple[str, str]]:
    """Yield every key that plugins share, and its kind."""
    for kind in SHARED_BY_PLUGINS:
        if LANE in PARTITIONED[kind]:
            pattern = partition_root("*") + PARTITIONED[kind].replace(LANE, "*")
            yield from ((key.decode(), kind) for key in client.scan_iter(match=pattern, count=_SCANNED))
        else:
            yield from ((key_in(partition_root(number), kind), kind) for number in range(keys.partitions))
