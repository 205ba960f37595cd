"""How many calls one process has in flight, and how many of them one webhook may hold."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar

from gevent.event import Event
from gevent.lock import BoundedSemaphore

from relay.outbound.gate import boot_time_s

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

T = TypeVar("T")

#: A webhook may hold so many times as many slots as are free: alone it gets four fifths, and some always remain.
SHARE: Final = 4
#: Whatever is free, a webhook may hold so many.
ALWAYS: Final = 8
#: A webhook whose last call ended so recently turns over: its next slot is near.
LATELY_S: Final = 0.02


class Slots:
    """Places for calls in flight, each held in the name of its webhook. Who takes some gives each back."""

    def __init__(self, total: int) -> None:
        self._free = BoundedSemaphore(total)
        self._held: Counter[Hashable] = Counter()
        self._left_at_s: dict[Hashable, float] = {}
        self._somebody_left = Event()

    @property
    def free(self) -> int:
        """How many are free."""
        return int(self._free.counter)

    def within_share(self, calls: Sequence[T], holder: Callable[[T], Hashable]) -> tuple[list[T], list[T]]:
        """Which of these calls their webhooks may send in this process now, and which are beyond their share."""
        within: list[T] = []
        beyond: list[T] = []
        held, free = self._held.copy(), self.free
        for call in calls:
            name = holder(call)
            if held[name] < max(ALWAYS, SHARE * free):
                held[name] += 1
                free = max(0, free - 1)
                within.append(call)
            else:
                beyond.append(call)
        return within, beyond

    def take(self, wanted: int) -> int:
        """Wait until a slot is free; returns how many were taken, 1 to ``wanted``."""
        self._free.acquire()
        taken = 1
        while taken < wanted and self._free.acquire(blocking=False):
            taken += 1
        return taken

    def turns_over(self, name: Hashable) -> bool:
        """Whether a call of this webhook has just ended."""
        return boot_time_s() - self._left_at_s.get(name, 0.0) < LATELY_S

    def wait_for_leave(self, timeout_s: float) -> None:
        """Wait until some call ends, at most so long."""
        self._somebody_left.clear()
        self._somebody_left.wait(timeout_s)

    def hold(self, name: Hashable) -> None:
        """A taken slot is used by this webhook."""
        self._held[name] += 1

    def leave(self, name: Hashable) -> None:
        """A webhook's slot is free again."""
        self._held[name] -= 1
        self._left_at_s[name] = boot_time_s()
        if not self._held[name]:
            del self._held[name], self._left_at_s[name]
        self._free.release()
        self._somebody_left.set()

    def give(self, count: int) -> None:
        """Give slots back that were not used."""
        for _ in range(count):
            self._free.release()
