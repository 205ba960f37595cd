"""How many calls one process has in flight, and how many of them one webhook may hold."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar

from gevent.event import Event
from gevent.lock import BoundedSemaphore

from relay.outbound.gate import boot_time_s
from relay.shares import may_hold_more

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

T = TypeVar("T")

#: Calls that hold their slots no longer than this leave so quickly that it pays to wait for them.
BRIEF_S: Final = 0.1
#: How much the last call's duration counts in a webhook's mean.
_WEIGHT: Final = 0.2


class Slots:
    """Places for calls in flight, each held in the name of its webhook. Who takes some gives each back."""

    def __init__(self, total: int) -> None:
        self._free = BoundedSemaphore(total)
        self._held: Counter[Hashable] = Counter()
        self._mean_s: dict[Hashable, float] = {}  # how long a webhook's calls hold a slot
        self._left_at_s: dict[Hashable, float] = {}  # when the last one left its slot, or the first one took it
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
            if may_hold_more(held[name], free):
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

    def turn_is_near(self, name: Hashable, calls: int, within_s: float) -> bool:
        """Whether about so many slots of this webhook's share will become free in that time.

        Never where its calls last longer than `BRIEF_S`: while a message waits for a slow endpoint, those behind it,
        of other webhooks, wait too.
        """
        idle_s = boot_time_s() - self._left_at_s.get(name, 0.0)
        lasts_s = max(self._mean_s.get(name, 0.0), idle_s)
        return lasts_s <= BRIEF_S and calls * lasts_s / max(1, self._held[name]) < within_s

    def wait_for_leave(self, timeout_s: float) -> None:
        """Wait until some call ends, at most so long."""
        self._somebody_left.clear()
        self._somebody_left.wait(timeout_s)

    def hold(self, name: Hashable) -> None:
        """A taken slot is used by this webhook."""
        self._held[name] += 1
        self._left_at_s.setdefault(name, boot_time_s())

    def leave(self, name: Hashable, held_s: float) -> None:
        """A webhook's slot is free again, after so long."""
        self._held[name] -= 1
        if self._held[name]:
            mean_s = self._mean_s.get(name, held_s)
            self._mean_s[name] = mean_s + _WEIGHT * (held_s - mean_s)
            self._left_at_s[name] = boot_time_s()
        else:
            for kept in (self._held, self._mean_s, self._left_at_s):
                kept.pop(name, None)
        self._free.release()
        self._somebody_left.set()

    def give(self, count: int) -> None:
        """Give slots back that were not used."""
        for _ in range(count):
            self._free.release()
