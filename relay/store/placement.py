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

    from relay.store.places import Places


@dataclass(frozen=True, slots=True)
class Placement:
    """Finds partitions and roots in a store: a plugin's name, or an id that was made for it, determines them."""

    partitions: int = 1
    places: Places | None = field(default=None, compare=False)  # where moved plugins are

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
        return self.places is not None and self.places.is_moving(bucket_of_plugin(plugin))

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

    def group_of(self, plugin: str) -> int:
        """Return a number that is the same for all plugins of one partition; while moved, a bucket has its own."""
        return self._group(bucket_of_plugin(plugin)) if self.partitions > 1 else 0

    def group_of_ref(self, reference_id: str) -> int:
        """Return a number that is the same for all invocations and replay jobs of one partition, as `group_of`."""
        return self._group(bucket_of(reference_id)) if self.partitions > 1 else 0

    def spread(self, items: Sequence[T], root_of: Callable[[T], str]) -> list[Spread[T]]:
        """Split the items by partition; each part keeps their order."""
        return spread(items, root_of) if self.partitions > 1 else [Spread(ROOT, items, range(len(items)))]

    def _partition(self, bucket: int) -> int:
        return bucket % self.partitions if self.places is None else self.places.partition_of(bucket)

    def _group(self, bucket: int) -> int:
        return bucket % self.partitions if self.places is None else self.places.group_of(bucket)


def _is_known(ask: Callable[[], int]) -> bool:
    try:
        ask()
    except Unavailable:
        return False
    return True
