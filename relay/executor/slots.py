r"""How many calls one process has in flight, and how many of them one webhook may hold.

A call is claimed only when a slot is free for it, so that what is claimed is sent at once and no lease runs out while
it waits. A webhook may hold at most four times as many slots as are free (`relay.shares`): alone it gets four fifths,
and something is always left for others. So the calls of a message fall into three: those that go now; those whose
webhook has its share, but whose endpoint answers so fast that a slot is about to be free, which are kept for a quarter
of a second at most, because to park and wake a call costs as much as to send it; and the rest, which the claim parks in
the server, where the next end of a call of their webhook wakes them. None are looked at while their webhook holds more
slots than keep its endpoint busy.

                    ids of a message, read and prepared
                                   |
                  .----------->  sort  <-------------------.
                  |           /    |    \                   |
                  |       within  kept   parked            |
                  |         |      |        |              |
       others     |       take   wait_for   claim(park=)   | woken: a message, or this
       of the     |         |     _leave    waits in the   | process if it has room
       message    |       claim    |        server --------'
                  |         |      |
                  |       hold     |
                  |         |      |
                  |      answered  |
                  |         |      |
                  '------ leave <--'
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from gevent.event import Event
from gevent.lock import BoundedSemaphore

from relay.process.clock import boot_time_s
from relay.queue import MESSAGE_IDS
from relay.shares import may_hold_more, room_left

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

T = TypeVar("T")

#: Where an endpoint answers within this, a slot is free so soon that it pays to wait for it.
BRIEF_S: Final = 0.1
#: Claiming this few costs about as much as claiming many: they wait where others may soon go with them.
FEW: Final = 8
#: How many woken calls a settle's reply names the webhooks of: it has as many rows (``MOST_ROWS``, ``lua/settle.lua``).
WOKEN: Final = 32
#: How much the last duration counts in a webhook's mean.
_WEIGHT: Final = 0.2


class Slots:
    """Slots for calls in flight, each held for a webhook. Whoever takes slots gives each of them back."""

    def __init__(self, total: int) -> None:
        self._free = BoundedSemaphore(total)
        self._held: Counter[Hashable] = Counter()
        self._coming: Counter[Hashable] = Counter()  # woken, and on their way to a slot
        self._answers = _Durations()  # until a webhook's calls are answered
        self._leaves = _Durations()  # for how long they hold their slots
        self._somebody_left = Event()
        self.ends = 0  # calls that have given their slots back

    @property
    def free(self) -> int:
        """How many are free."""
        return int(self._free.counter)

    def within_share(self, calls: Sequence[T], webhook_of: Callable[[T], Hashable]) -> tuple[list[T], list[T]]:
        """Split these calls into those that their webhooks may send from here now, and those beyond their share."""
        within: list[T] = []
        beyond: list[T] = []
        held, free = dict(self._held), self.free
        for call in calls:
            name = webhook_of(call)
            count = held.get(name, 0)
            if may_hold_more(count, free):
                held[name] = count + 1
                free = max(0, free - 1)
                within.append(call)
            else:
                beyond.append(call)
        return within, beyond

    def room(self, name: Hashable) -> int:
        """Return how many more calls this webhook may hold now."""
        return room_left(self._held[name], self.free)

    def room_after(self, leaving: Iterable[Hashable]) -> dict[Hashable, int]:
        """Return how many more calls each webhook in ``leaving``, named once a call, may hold once these have left.

        Room for calls that are coming is taken, so that none are woken for it twice. A webhook may have as many woken
        as leave, and more only up to `WOKEN` in all: of others nobody would know that they are coming.
        """
        counts = Counter(leaving)
        free = max(0, self.free + counts.total() - self._coming.total())
        most = WOKEN // max(1, len(counts))
        return {
            name: min(max(count, most), room_left(self._held[name] + self._coming[name] - count, free))
            for name, count in counts.items()
        }

    @contextmanager
    def coming(self, names: Iterable[Hashable]) -> Iterator[None]:
        """Count woken calls of these webhooks, each named once a call, which ask for slots meanwhile."""
        counts = Counter(names)
        self._coming.update(counts)
        try:
            yield
        finally:
            self._coming -= counts

    def sort(
        self, calls: Sequence[T], webhook_of: Callable[[T], Hashable], hold_s: float
    ) -> tuple[list[T], list[T], list[T]]:
        """Split these calls into those to send now, those to keep as a slot is soon free for them, and those to park.

        Soon is within ``hold_s``: to park a call and to wake it again costs as much as to send it. Where fewer than
        `FEW` could go now they are kept too, and go with the others of their webhooks.
        """
        within, beyond = self.within_share(calls, webhook_of)
        if not beyond:
            return within, [], []
        soon = self.soon_free(map(webhook_of, beyond), hold_s)
        parked = [call for call in beyond if webhook_of(call) not in soon]
        if len(within) < FEW and all(webhook_of(call) in soon for call in within):
            return [], [call for call in calls if webhook_of(call) in soon], parked
        return within, [call for call in beyond if webhook_of(call) in soon], parked

    def take(self, wanted: int) -> int:
        """Wait until a slot is free; take 1 to ``wanted`` slots, and return how many."""
        self._free.acquire()
        taken = 1
        while taken < wanted and self._free.acquire(blocking=False):
            taken += 1
        return taken

    def soon_free(self, names: Iterable[Hashable], within_s: float) -> set[Hashable]:
        """Return for which of these webhooks, each named once a call, about so many slots will be free in that time.

        Never those whose endpoint takes longer than `BRIEF_S` to answer: while a message waits for a slow endpoint,
        those behind it, of other webhooks, wait too.
        """
        return {
            name
            for name, calls in Counter(names).items()
            if self._answers.expected_s(name) <= BRIEF_S
            and calls * self._leaves.expected_s(name) / max(1, self._held[name]) < within_s
        }

    def has_enough(self, name: Hashable) -> bool:
        """Say whether more slots for this webhook would make its calls wait for this process, not for their endpoint.

        Of the calls that it holds as many are at the endpoint at a time as the part of their time that they wait for
        it (Little's law). With twice those, and as many others as one message brings, the endpoint always has the
        next one.
        """
        held, held_s = self._held[name], self._leaves.mean_s(name)
        if held < MESSAGE_IDS or not held_s:
            return False
        return held >= MESSAGE_IDS + 2 * held * self._answers.mean_s(name) / held_s

    def wait_for_leave(self, timeout_s: float) -> None:
        """Wait until some call ends, for at most ``timeout_s`` seconds."""
        self._somebody_left.clear()
        self._somebody_left.wait(timeout_s)

    def hold(self, name: Hashable) -> None:
        """Note that a taken slot is used by this webhook."""
        if not self._held[name]:
            self._answers.begin(name)
            self._leaves.begin(name)
        self._held[name] += 1

    def answered(self, name: Hashable, after_s: float) -> None:
        """Note after how long an endpoint answered, or a call ended otherwise; its slot is held until it is settled."""
        self._answers.note(name, after_s)

    def leave(self, name: Hashable, held_s: float) -> None:
        """Free a slot that a webhook has held for ``held_s`` seconds."""
        self.ends += 1
        self._held[name] -= 1
        self._leaves.note(name, held_s)
        if not self._held[name]:
            del self._held[name]
            self._answers.forget(name)
            self._leaves.forget(name)
        self._free.release()
        self._somebody_left.set()

    def give(self, count: int) -> None:
        """Give slots back that were not used."""
        for _ in range(count):
            self._free.release()


class _Durations:
    """Moving means of durations by webhook; while none ends for longer than its mean, that time is expected instead."""

    def __init__(self) -> None:
        self._mean_s: dict[Hashable, float] = {}
        self._last_at_s: dict[Hashable, float] = {}  # when the last one ended, or the first one began

    def begin(self, name: Hashable) -> None:
        self._last_at_s[name] = boot_time_s()

    def note(self, name: Hashable, lasted_s: float) -> None:
        mean_s = self._mean_s.get(name, lasted_s)
        self._mean_s[name] = mean_s + _WEIGHT * (lasted_s - mean_s)
        self._last_at_s[name] = boot_time_s()

    def mean_s(self, name: Hashable) -> float:
        return self._mean_s.get(name, 0.0)

    def expected_s(self, name: Hashable) -> float:
        idle_s = boot_time_s() - self._last_at_s.get(name, 0.0)
        return max(self._mean_s.get(name, 0.0), idle_s)

    def forget(self, name: Hashable) -> None:
        self._mean_s.pop(name, None)
        self._last_at_s.pop(name, None)
