"""Tracks the calls that a process has in progress: one that is taken again starts nothing, but is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.domain.reference_id import reference_time_ms

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class InProgress:
    """Holds the reference id of each call that was taken, until it ends, is parked, or is left to be taken again."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._asked_for: set[str] = set()  # taken again while held

    def take(self, named: Iterable[object]) -> list[str]:
        """Hold the ids that are not held yet, and return them; ignore anything that is not a reference id."""
        fresh = dict.fromkeys(ref for ref in named if isinstance(ref, str) and reference_time_ms(ref))
        taken = [ref for ref in fresh if ref not in self._held]
        self._asked_for.update(self._held.intersection(fresh))
        self._held.update(taken)
        return taken

    def release(self, reference_ids: Collection[str]) -> list[str]:
        """Stop holding these ids; return those that were taken again while they were held.

        It may have been made ready just as this process parked it; nothing else would wake it.
        """
        self._held.difference_update(reference_ids)
        if not self._asked_for:
            return []
        again = self._asked_for.intersection(reference_ids)
        self._asked_for -= again
        return list(again)
