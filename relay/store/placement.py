"""In which partition a plugin is, and an invocation or a replay job of it."""

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
    """Where things are in a store that has so many partitions: a plugin, and an id made for it, tell theirs."""

    partitions: int = 1
    places: Places | None = field(default=None, compare=False)  # of plugins that were moved

    def partition_of(self, plugin: str) -> int:
        """Return the partition of a plugin. Raises `Unavailable` while it is moved to another one."""
        return self._partition(bucket_of_plugin(plugin)) if self.partitions > 1 else 0

    def partition_of_ref(self, reference_id: str) -> int:
        """Return the partition of an invocation, or of a replay job; raises as `partition_of`."""
        return self._partition(bucket_of(reference_id)) if self.partitions > 1 else 0

    def is_moving(self, plugin: str) -> bool:
        """Return whether a plugin is on its way to another partition.

        Raises `Unavailable` where that cannot be known.
        """
        return self.places is not None and self.places.is_moving(bucket_of_plugin(plugin))

    def is_at_hand(self, plugin: str) -> bool:
        """Return whether a plugin may be asked for: as far as can be known, it is not on its way."""
        return _is_told(lambda: self.partition_of(plugin))

    def is_at_hand_ref(self, reference_id: str) -> bool:
        """Return whether the plugin of an invocation or of a replay job may be asked for."""
        return _is_told(lambda: self.partition_of_ref(reference_id))

    def root(self, plugin: str) -> str:
        """Return the root of all that a plugin has; raises as `partition_of`."""
        return partition_root(self._partition(bucket_of_plugin(plugin))) if self.partitions > 1 else ROOT

    def root_of_ref(self, reference_id: str) -> str:
        """Return the root of an invocation's keys, or of a replay job's; raises as `partition_of`."""
        return partition_root(self._partition(bucket_of(reference_id))) if self.partitions > 1 else ROOT

    def group_of(self, plugin: str) -> int:
        """Return a number that plugins have in common which are in one partition; one that is moved is alone."""
        return self._group(bucket_of_plugin(plugin)) if self.partitions > 1 else 0

    def group_of_ref(self, reference_id: str) -> int:
        """Return a number that invocations and replay jobs have in common which are in one partition."""
        return self._group(bucket_of(reference_id)) if self.partitions > 1 else 0

    def spread(self, items: Sequence[T], root_of: Callable[[T], str]) -> list[Spread[T]]:
        """Split the items by partition, each in the order in which they came."""
        return spread(items, root_of) if self.partitions > 1 else [Spread(ROOT, items, range(len(items)))]

    def _partition(self, bucket: int) -> int:
        return bucket % self.partitions if self.places is None else self.places.partition_of(bucket)

    def _group(self, bucket: int) -> int:
        return bucket % self.partitions if self.places is None else self.places.group_of(bucket)


def _is_told(ask: Callable[[], int]) -> bool:
    try:
        ask()
    except Unavailable:
        return False
    return True
