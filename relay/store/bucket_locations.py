"""Records which buckets of plugins have been moved to another partition.

Each partition keeps a table of the buckets that started out in it. A process reads a table again after a second, and
if it cannot, its operations fail with `Unavailable`. So a mover can wait until no process uses a bucket that it marked.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Unavailable
from relay.store.key_names import key_in, partition_root
from relay.store.server_errors import store_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: How long, in seconds, a process may go on using a table that it has read.
FRESH_S: Final = 1.0
#: The field for all buckets that have no field of their own: in a store that began with one partition, all of them
#: are in the first.
OTHERS: Final = "*"
#: Prefix of a field that names the partition which a bucket has left, and where its keys are still to be deleted.
LEFT: Final = "left:"
#: Counts the writes to the table; a reader that sees the same count twice knows that nothing moved in between.
WRITTEN: Final = "written"


class MoveStep(StrEnum):
    """The step that a move has reached."""

    NONE = ""
    COPYING = "copying"  # keys are being copied from the source, which no process uses
    SETTLING = "settling"  # alarms and sums are being added to those of the target


@dataclass(frozen=True, slots=True)
class BucketLocation:
    """The partition of a bucket: ``number``; while it is being moved, it comes from ``source``."""

    number: int
    step: MoveStep = MoveStep.NONE
    source: int | None = None

    def to_text(self) -> str:
        """Return the text that the table stores for this location."""
        return f"{self.step}:{self.source}:{self.number}" if self.step else str(self.number)

    @classmethod
    def from_text(cls, text: str) -> BucketLocation:
        """Read what ``to_text`` wrote."""
        step, _, rest = text.rpartition(":")[0].partition(":")
        number = int(text.rpartition(":")[2])
        return cls(number, MoveStep(step), int(rest)) if step else cls(number)


def table_key(home: int) -> str:
    """Hash: the locations of buckets that began in a partition and were moved."""
    return key_in(partition_root(home), "moved")


class BucketLocations:
    """The locations of buckets, as one process knows them. Safe for threads. ``client_of`` returns a client."""

    def __init__(self, client_of: Callable[[], Any], partitions: int) -> None:
        self._client_of = client_of
        self._partitions = partitions
        self._tables: dict[int, tuple[float, Mapping[str, BucketLocation]]] = {}
        self._locks = [threading.Lock() for _ in range(partitions)]

    def partition_of(self, bucket: int) -> int:
        """Return the partition of a bucket. Raises `Unavailable` while it is moved, or if its table cannot be read."""
        location = self._in_table(bucket, self._table(bucket % self._partitions))
        if location.step:
            raise Unavailable("The plugin is being moved to another partition: try again when it has moved.")
        return location.number

    def is_moving(self, bucket: int) -> bool:
        """Return whether a bucket is being moved. Raises `Unavailable` if its table cannot be read."""
        return bool(self._in_table(bucket, self._table(bucket % self._partitions)).step)

    def last_partition_of(self, bucket: int) -> int:
        """Return the partition of a bucket as last read; while it is moved, a negative number that no other bucket has.

        The store is not asked.
        """
        _, table = self._tables.get(bucket % self._partitions, (0.0, {}))
        location = self._in_table(bucket, table)
        return -1 - bucket if location.step else location.number

    def _in_table(self, bucket: int, table: Mapping[str, BucketLocation]) -> BucketLocation:
        return location_in(table, bucket, self._partitions)

    def _table(self, home: int) -> Mapping[str, BucketLocation]:
        read_s, table = self._tables.get(home, (-FRESH_S, {}))
        if time.monotonic() - read_s < FRESH_S:
            return table
        with self._locks[home]:
            read_s, table = self._tables.get(home, (-FRESH_S, {}))
            now_s = time.monotonic()
            if now_s - read_s >= FRESH_S:
                table = read_table(self._client_of(), home)
                self._tables[home] = now_s, table
        return table


def location_in(table: Mapping[str, BucketLocation], bucket: int, partitions: int) -> BucketLocation:
    """Return the location of a bucket, given the table of the partition in which it began."""
    home = bucket % partitions
    return (table.get(str(bucket)) or table.get(OTHERS) or BucketLocation(home)) if table else BucketLocation(home)


def read_table(client: Any, home: int) -> dict[str, BucketLocation]:
    """Read the table of a partition from the store."""
    with store_errors():
        found: dict[bytes, bytes] = client.hgetall(table_key(home))
    named = ((field.decode(), text.decode()) for field, text in found.items())
    return {
        field: BucketLocation.from_text(text)
        for field, text in named
        if field != WRITTEN and not field.startswith(LEFT)
    }
