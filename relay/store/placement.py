"""Finds the partition of a plugin, an invocation or a replay job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.errors import Unavailable
from relay.reference_id import bucket_of, bucket_of_plugin
from relay.store.key_names import ROOT, partition_root
from relay.store.spreading import Spread, T, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.store.bucket_locations import BucketLocations


@dataclass(frozen=True, slots=True)
class Placement:
    """Finds partitions and roots in a store: a plugin's name, or an id that was made for it, determines them."""

    partitions: int = 1
    locations: BucketLocations | None = field(default=None, compare=False)  # where moved plugins are

    def partition_of(self, plugin: str) -> int:
        """Return the partition of a plugin. Raises `Unavailable` while the plugin is being moved."""
        return self._partition(bucket_of_plugin(plugin)) if self.partitions > 1 else 0

    def partition_of_ref(self, reference_id: str) -> int:
        """Return the partition of an invocation or a replay job; raises as `partition_of`."""
        return self._partition(bucket_of(reference_id)) if self.partitions > 1 else 0

    def is_moving(self, plugin: str) -> bool:
        """Return whether a plugin is being moved to another partition.

        Raises `Unavailable` if that cannot be determined.
        """
        return self.locations is not None and self.locations.is_moving(bucket_of_plugin(plugin))

    def is_usable(self, plugin: str) -> bool:
        """Return whether a plugin can be used now: its partition is known, and it is not being moved."""
        return _is_known(lambda: self.partition_of(plugin))

    def is_usable_ref(self, reference_id: str) -> bool:
        """Return whether the plugin of an invocation or replay job can be used now, as `is_usable`."""
        return _is_known(lambda: self.partition_of_ref(reference_id))

    def root(self, plugin: str) -> str:
        """Return the root of a plugin's keys; raises as `partition_of`."""
        return partition_root(self._partition(bucket_of_plugin(plugin))) if self.partitions > 1 else ROOT

    def root_of_ref(self, reference_id: str) -> str:
        """Return the root of the keys of an invocation or a replay job; raises as `partition_of`."""
        return partition_root(self._partition(bucket_of(reference_id))) if self.partitions > 1 else ROOT

    def last_partition_of(self, plugin: str) -> int:
        """Return the partition of a plugin as last read; while it is moved, a negative number of its bucket's own."""
        return self._last_partition(bucket_of_plugin(plugin)) if self.partitions > 1 else 0

    def last_partition_of_ref(self, reference_id: str) -> int:
        """Return the partition of an invocation or a replay job, as `last_partition_of`."""
        return self._last_partition(bucket_of(reference_id)) if self.partitions > 1 else 0

    def spread(self, items: Sequence[T], root_of: Callable[[T], str]) -> list[Spread[T]]:
        """Split the items by partition; each part keeps their order."""
        return spread(items, root_of) if self.partitions > 1 else [Spread(ROOT, items, range(len(items)))]

    def _partition(self, bucket: int) -> int:
        return bucket % self.partitions if self.locations is None else self.locations.partition_of(bucket)

    def _last_partition(self, bucket: int) -> int:
        return bucket % self.partitions if self.locations is None else self.locations.last_partition_of(bucket)


def _is_known(ask: Callable[[], int]) -> bool:
    try:
        ask()
    except Unavailable:
        return False
    return True
