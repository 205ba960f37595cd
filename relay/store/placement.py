"""In which partition a plugin is, and an invocation or a replay job of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.reference_id import bucket_of, bucket_of_plugin
from relay.store.key_names import partition_root
from relay.store.spreading import Spread, T, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: The root of the first partition, and of the only one.
ROOT: Final = partition_root(0)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where things are in a store that has so many partitions: a plugin, and an id made for it, tell theirs."""

    partitions: int = 1

    def partition_of(self, plugin: str) -> int:
        """The partition of a plugin."""
        return bucket_of_plugin(plugin) % self.partitions if self.partitions > 1 else 0

    def partition_of_ref(self, reference_id: str) -> int:
        """The partition of an invocation, or of a replay job."""
        return bucket_of(reference_id) % self.partitions if self.partitions > 1 else 0

    def root(self, plugin: str) -> str:
        """The root of all that a plugin has."""
        return partition_root(bucket_of_plugin(plugin) % self.partitions) if self.partitions > 1 else ROOT

    def root_of_ref(self, reference_id: str) -> str:
        """The root of an invocation's keys, or of a replay job's."""
        return partition_root(bucket_of(reference_id) % self.partitions) if self.partitions > 1 else ROOT

    def spread(self, items: Sequence[T], root_of: Callable[[T], str]) -> list[Spread[T]]:
        """The items by partition, each in the order in which they came."""
        return spread(items, root_of) if self.partitions > 1 else [Spread(ROOT, items, range(len(items)))]
