"""Finds the partition of a key, and so its full name; the scripts get the same names.

A key of a given partition, whichever plugins are in it, is named by `relay.store.keys.names.key_in`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.domain.reference_id import bucket_of, bucket_of_plugin
from relay.store.keys.names import CHANNELS, DECISIONS, PREFIX, ROOT, SHARED, SHARED_ROOT, TRAIL, key_in, partition_root
from relay.store.partitions.spreading import Spread, T, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Keyspace:
    """Names every key of a store; a plugin's name, or an id that was made for it, determines the partition."""

    partitions: int = 1

    def partition_of(self, plugin: str) -> int:
        """Return the partition of a plugin."""
        return bucket_of_plugin(plugin) % self.partitions

    def partition_of_ref(self, reference_id: str) -> int:
        """Return the partition of an invocation or a replay job."""
        return bucket_of(reference_id) % self.partitions if self.partitions > 1 else 0

    def root(self, plugin: str) -> str:
        """Return the root of a plugin's keys."""
        return partition_root(self.partition_of(plugin)) if self.partitions > 1 else ROOT

    def root_of_ref(self, reference_id: str) -> str:
        """Return the root of the keys of an invocation or a replay job."""
        return partition_root(self.partition_of_ref(reference_id)) if self.partitions > 1 else ROOT

    def spread(self, items: Sequence[T], root_of: Callable[[T], str]) -> list[Spread[T]]:
        """Split the items by partition; each part keeps their order."""
        return spread(items, root_of) if self.partitions > 1 else [Spread(ROOT, items, range(len(items)))]

    def of_plugin(self, kind: str, plugin: str, **parts: object) -> str:
        """Return a key of a plugin; ``parts`` fill in the rest of its template."""
        return key_in(self.root(plugin), kind, plugin=plugin, **parts)

    def of_ref(self, kind: str, ref: str) -> str:
        """Return a key of an invocation."""
        return key_in(self.root_of_ref(ref), kind, ref=ref)


#: The keys of a store that has one partition.
SINGLE: Final = Keyspace()


def shared(kind: str, **parts: object) -> str:
    """Return a key that belongs to no partition; ``parts`` fill in its template."""
    return SHARED_ROOT + SHARED[kind].format(**parts)


def decisions(root: str = ROOT) -> str:
    """Return the key of a root's chain of decisions, a list."""
    return root + DECISIONS


def audit(part: str, root: str = ROOT) -> str:
    """Return a key of a root's audit trail: ``entries``, ``head``, ``segments``, ``beginning`` or ``lock``."""
    return root + TRAIL[f"audit_{part}"]


def heads() -> str:
    """Return the channel of the newest heads of chains that each process has read."""
    return PREFIX + CHANNELS["heads"]


def notice(process: str) -> str:
    """Return the channel of the notices for an API process's waiters."""
    return PREFIX + CHANNELS["notice"].format(process=process)
