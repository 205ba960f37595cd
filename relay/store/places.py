"""Where the plugins of a bucket are that were moved: a table in each partition, of the buckets that began there.

Everybody looks at it again after a second, and who cannot is told that the partition is away. So a mover knows that
after some time nobody uses what it has marked.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Unavailable
from relay.store.key_names import PARTITIONED, partition_root
from relay.store.server_errors import store_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: So old may be what somebody knows of a table.
FRESH_S: Final = 1.0
#: The buckets of which the table says nothing else: all of a store that began with one partition are in the first.
OTHERS: Final = "*"
#: With this before a bucket: where it was, and is still to be cleared away.
LEFT: Final = "left:"
#: How often anything was written of a place: who looks twice knows whether anything was moved in between.
WRITTEN: Final = "written"


class MoveStep(StrEnum):
    """How far a move has come."""

    NONE = ""
    COPYING = "copying"  # keys are copied from the source, which nobody uses
    SETTLING = "settling"  # alarms and counts are put to those of the target


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bucket is: in ``number``, or on its way there from ``source``."""

    number: int
    step: MoveStep = MoveStep.NONE
    source: int | None = None

    def to_text(self) -> str:
        """Write it as the table has it."""
        return f"{self.step}:{self.source}:{self.number}" if self.step else str(self.number)

    @classmethod
    def from_text(cls, text: str) -> Place:
        """Read what ``to_text`` wrote."""
        step, _, rest = text.rpartition(":")[0].partition(":")
        number = int(text.rpartition(":")[2])
        return cls(number, MoveStep(step), int(rest)) if step else cls(number)


def table_key(home: int) -> str:
    """Hash: the places of buckets that began in a partition and are elsewhere."""
    return partition_root(home) + PARTITIONED["moved"]


class Places:
    """The places of buckets, as known to one process. For threads. ``client_of`` gives the store's client."""

    def __init__(self, client_of: Callable[[], Any], partitions: int) -> None:
        self._client_of = client_of
        self._partitions = partitions
        self._tables: dict[int, tuple[float, Mapping[str, Place]]] = {}
        self._locks = [threading.Lock() for _ in range(partitions)]

    def partition_of(self, bucket: int) -> int:
        """Return the partition of a bucket. Raises `Unavailable` while it is moved, or where that cannot be known."""
        place = self._in_table(bucket, self._table(bucket % self._partitions))
        if place.step:
            raise Unavailable("The plugin is being moved to another partition: try again when that is over.")
        return place.number

    def is_moving(self, bucket: int) -> bool:
        """Return whether a bucket is on its way. Raises `Unavailable` where that cannot be known."""
        return bool(self._in_table(bucket, self._table(bucket % self._partitions)).step)

    def group_of(self, bucket: int) -> int:
        """Return a number that buckets have in common which are used together: what was last known, without asking."""
        _, table = self._tables.get(bucket % self._partitions, (0.0, {}))
        place = self._in_table(bucket, table)
        return -1 - bucket if place.step else place.number

    def _in_table(self, bucket: int, table: Mapping[str, Place]) -> Place:
        return place_in(table, bucket, self._partitions)

    def _table(self, home: int) -> Mapping[str, Place]:
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


def place_in(table: Mapping[str, Place], bucket: int, partitions: int) -> Place:
    """Return the place of a bucket by the table of the partition in which it began."""
    home = bucket % partitions
    return (table.get(str(bucket)) or table.get(OTHERS) or Place(home)) if table else Place(home)


def read_table(client: Any, home: int) -> dict[str, Place]:
    """Read the table of a partition as it is now."""
    with store_errors():
        found: dict[bytes, bytes] = client.hgetall(table_key(home))
    named = ((field.decode(), text.decode()) for field, text in found.items())
    return {field: Place.from_text(text) for field, text in named if field != WRITTEN and not field.startswith(LEFT)}
