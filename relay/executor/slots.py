"""How many calls one process has in flight."""

from __future__ import annotations

from gevent.lock import BoundedSemaphore


class Slots:
    """Places for calls in flight. Who takes some gives each back."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = BoundedSemaphore(total)

    @property
    def taken(self) -> int:
        """How many calls are in flight."""
        return self.total - int(self._free.counter)

    def take(self, wanted: int) -> int:
        """Wait until a slot is free; returns how many were taken, 1 to ``wanted``."""
        self._free.acquire()
        taken = 1
        while taken < wanted and self._free.acquire(blocking=False):
            taken += 1
        return taken

    def give(self, count: int = 1) -> None:
        """Give slots back."""
        for _ in range(count):
            self._free.release()
