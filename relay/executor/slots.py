r"""Limits how many calls one process has in flight, and how many slots one webhook may hold.

A call is claimed only when a slot is free for it, so that a claimed call is sent at once and no lease runs out while it
waits. A webhook may hold at most four times as many slots as are free (`relay.domain.shares`): alone it gets four
fifths, and some slots are always left for other webhooks. The calls of a batch fall into three groups:

* within: they are sent now.
* kept: their webhook has its share, but its endpoint answers so fast that a slot is about to be free. They wait for a
  quarter of a second at most, because parking and waking a call costs as much as sending it.
* parked: the claim parks them in the server, where the next call of their webhook that ends wakes them.

A batch waits, unsorted, while the webhook of its first call holds more slots than keep its endpoint busy.

                     calls of a batch, read
                                   |
                  .----------->  sort  <-------------------.
                  |           /    |    \                   |
                  |       within  kept   parked            |
                  |         |      |        |              |
       others     |      prepare wait_for   claim(park=)   | woken: a worker, or this
       of the     |         |     _leave    waits in the   | process if it has room
       batch      |       take     |        server --------'
                  |         |      |
                  |       claim    |
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

from relay.domain.shares import capacity_left, may_hold_more
from relay.process.clock import boot_time_s
from relay.queue import GROUP_IDS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

T = TypeVar("T")

#: An endpoint that answers within this many seconds frees its slots so soon that it pays to wait for one.
BRIEF_S: Final = 0.1
#: A claim of fewer calls than this costs about as much as a large one, so they wait if others may soon join them.
FEW: Final = 8
#: How many calls a settle may wake although fewer leave their slots.
WOKEN: Final = 32
#: The weight of the newest duration in a webhook's moving mean.
_WEIGHT: Final = 0.2


class Slots:
    """The slots for calls in flight, each held for a webhook. Every slot taken has to be given back."""

    def __init__(self, total: int) -> None:
        self._free = BoundedSemaphore(total)
        self._held: Counter[Hashable] = Counter()
        self._coming: Counter[Hashable] = Counter()  # woken calls that have no slot yet
        self._answers = _Durations()  # how long a webhook's calls take to be answered
        self._leaves = _Durations()  # how long they hold their slots
        self._slot_freed = Event()
        self.ends = 0  # calls that have given their slots back

    @property
    def free(self) -> int:
        """How many slots are free."""
        return int(self._free.counter)

    def within_share(self, calls: Sequence[T], webhook_of: Callable[[T], Hashable]) -> tuple[list[T], list[T]]:
        """Split calls into those within their webhook's share of the slots, and those beyond it."""
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

    def capacity(self, name: Hashable) -> int:
        """Return how many more slots this webhook may hold now."""
        return capacity_left(self._held[name], self.free)

    def capacity_after(self, leaving: Iterable[Hashable]) -> dict[Hashable, int]:
        """Return how many more slots each webhook may hold once the calls in ``leaving`` have freed theirs.

        ``leaving`` names the webhook of each call. Slots for calls that are coming count as taken, so that no two calls
        are woken for one slot. As many calls of a webhook may be woken as leave; more only up to `WOKEN` for all
        webhooks together, because a settle's reply tells the webhooks of at most `GROUP_IDS` calls.
        """
        counts = Counter(leaving)
        free = max(0, self.free + counts.total() - self._coming.total())
        most = WOKEN // max(1, len(counts))
        return {
            name: min(max(count, most), capacity_left(self._held[name] + self._coming[name] - count, free))
            for name, count in counts.items()
        }

    @contextmanager
    def coming(self, names: Iterable[Hashable]) -> Iterator[None]:
        """Count woken calls as coming while the context lasts; ``names`` has the webhook of each."""
        counts = Counter(names)
        self._coming.update(counts)
        try:
            yield
        finally:
            self._coming -= counts

    def sort(
        self, calls: Sequence[T], webhook_of: Callable[[T], Hashable], hold_s: float
    ) -> tuple[list[T], list[T], list[T]]:
        """Split calls into those to send now, those to keep because a slot will soon be free, and those to park.

        Soon means within ``hold_s`` seconds: parking and waking a call costs as much as sending it. If fewer than `FEW`
        could be sent now, and slots will soon be free for all their webhooks, they are kept too, for a larger claim.
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

    def wait_for_free(self) -> None:
        """Wait until a slot is free; others may take it first."""
        self._free.wait()

    def soon_free(self, names: Iterable[Hashable], within_s: float) -> set[Hashable]:
        """Return the webhooks that will probably free a slot for each of their calls within ``within_s`` seconds.

        ``names`` has the webhook of each call. A webhook whose endpoint takes longer than `BRIEF_S` to answer is left
        out: while a batch waits for a slow endpoint, calls of other webhooks may wait for its task.
        """
        return {
            name
            for name, calls in Counter(names).items()
            if self._answers.expected_s(name) <= BRIEF_S
            and calls * self._leaves.expected_s(name) / max(1, self._held[name]) < within_s
        }

    def has_enough(self, name: Hashable) -> bool:
        """Return whether this webhook holds enough slots to keep its endpoint busy, so that more would only wait here.

        By Little's law the number of calls at the endpoint is the number of held slots times the share of their time
        that calls wait for the endpoint. With twice that number, and the calls of one more batch, the endpoint always
        has a next call.
        """
        held, held_s = self._held[name], self._leaves.mean_s(name)
        if held < GROUP_IDS or not held_s:
            return False
        return held >= GROUP_IDS + 2 * held * self._answers.mean_s(name) / held_s

    def wait_for_leave(self, timeout_s: float) -> None:
        """Wait until a slot is freed or given back, for at most ``timeout_s`` seconds."""
        self._slot_freed.clear()
        self._slot_freed.wait(timeout_s)

    def hold(self, name: Hashable) -> None:
        """Note that this webhook holds one of the taken slots."""
        if not self._held[name]:
            self._answers.begin(name)
            self._leaves.begin(name)
        self._held[name] += 1

    def answered(self, name: Hashable, after_s: float) -> None:
        """Note how many seconds a call took to be answered or to fail; it holds its slot until it is settled."""
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
        self._slot_freed.set()

    def give(self, count: int) -> None:
        """Give back slots that were taken and not used."""
        for _ in range(count):
            self._free.release()
        if count:
            self._slot_freed.set()


class _Durations:
    """Moving means of durations, by webhook. If none has ended for longer than the mean, that time is expected."""

    def __init__(self) -> None:
        self._mean_s: dict[Hashable, float] = {}
        self._last_at_s: dict[Hashable, float] = {}  # when the last duration ended, or the first one began

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
