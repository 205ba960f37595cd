"""Group commit in greenlets: the items that arrive while one group is committed go into the next."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import gevent
from gevent.event import Event as Signal

from relay.process import loops
from relay.process.clock import boot_time_s
from relay.process.loops import Failures, Loop
from relay.queue import GROUP_IDS
from relay.telemetry import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.store.ledger.invocations import InvocationStore

T = TypeVar("T")
R = TypeVar("R")

#: How many items are enough for a script, which then takes about 1 ms; the server does nothing else meanwhile.
GROUP_ITEMS: Final = 24
#: How many items a script may have for each millisecond that this thread was idle while the last group was committed:
#: at 40 us an item, it takes a quarter of that time. Where the server is busy or far away, fewer would not keep up.
ITEMS_A_MS: Final = 6
GROUP_BYTES: Final = 1024 * 1024
#: After how many seconds without an item the queue iterates all the same, to show that it is alive.
IDLE_S: Final = 1.0
#: An item that has failed this often, for whatever reason, is tried alone: it may itself be the reason.
FAILURES_TOGETHER: Final = 3
#: An item that has hit this many faults of the relay when tried alone is given up.
FAULTS_ALONE: Final = 8


@dataclass(slots=True)
class _Waiting(Generic[T]):
    """An item in the queue."""

    item: T
    failures: int = 0
    faults: int = 0  # of the relay, when it was tried alone
    alone: bool = False


class GroupQueue(ABC, Generic[T, R]):
    """Commits items in one greenlet. An item that has failed goes to the end of the queue, out of the way of others."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: deque[_Waiting[T]] = deque()
        self._arrived = Signal()
        self._idle = Signal()
        self._idle.set()
        self._most = GROUP_ITEMS  # items in the next group
        self._failures = Failures(name)
        self.moves = 0  # how often it has iterated, even with nothing to do or with the store away
        self._greenlet = gevent.spawn(Loop(name, self._iterate, gevent.sleep).run)

    @abstractmethod
    def _commit(self, items: Sequence[T]) -> R:
        """Commit a group in the store, and return its reply. If this raises, the items are tried again."""

    @abstractmethod
    def _committed(self, items: Sequence[T], reply: R) -> None:
        """Handle a group's reply."""

    @abstractmethod
    def _give_up(self, item: T, error: Exception) -> None:
        """End an item, if it has not ended, after a fault of the relay: otherwise a waiter would wait for ever."""

    @abstractmethod
    def _size_bytes(self, item: T) -> int:
        """Return how much of `GROUP_BYTES` an item takes."""

    def put(self, item: T) -> None:
        """Queue an item."""
        self._waiting.append(_Waiting(item))
        self._idle.clear()
        self._arrived.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is left; return False if that takes longer than ``timeout_s`` seconds."""
        return bool(self._idle.wait(timeout_s))

    def _iterate(self) -> None:
        arrived = bool(self._waiting) or self._arrived.wait(IDLE_S)
        self.moves += 1
        if not arrived:
            return
        try:
            self._try(self._take())
        finally:
            if not self._waiting:
                self._arrived.clear()
                self._idle.set()

    def _take(self) -> list[_Waiting[T]]:
        group = [self._waiting.popleft()]
        size_bytes = self._size_bytes(group[0].item)
        while self._waiting and len(group) < self._most:
            following = self._waiting[0]
            size_bytes += self._size_bytes(following.item)
            if group[0].alone or following.alone or size_bytes > GROUP_BYTES:
                break
            group.append(self._waiting.popleft())
        return group

    def _try(self, group: Sequence[_Waiting[T]]) -> None:
        items = [each.item for each in group]
        idle_s = _idle_s()
        try:
            reply = self._commit(items)
        except Exception as error:  # noqa: BLE001 - the group is kept for another try
            self._failed(group, error)
            return
        self._most = min(GROUP_IDS, max(GROUP_ITEMS, round((_idle_s() - idle_s) * 1000 * ITEMS_A_MS)))
        self._failures.succeeded()
        try:
            self._committed(items, reply)
        except Exception as error:
            for item in items:
                self._end(item, error)
            raise

    def _failed(self, group: Sequence[_Waiting[T]], error: Exception) -> None:
        ours = self._failures.note(error)
        for each in group:
            each.failures += 1
            each.faults += ours and len(group) == 1
            each.alone = each.alone or ours or each.failures >= FAILURES_TOGETHER
            if each.faults < FAULTS_ALONE:
                self._waiting.append(each)
            else:
                log.fault(error, f"{self._name}: given up")
                self._end(each.item, error)
        self._wait_to_retry()

    def _end(self, item: T, error: Exception) -> None:
        try:
            self._give_up(item, error)
        except Exception as fault:  # noqa: BLE001 - the others of its group still have to end
            log.fault(fault, f"{self._name}: give up")

    def _wait_to_retry(self) -> None:
        """Wait for a moment before the next try, unless an item that has not been tried yet waits or arrives."""
        if all(each.failures for each in self._waiting):
            self._arrived.clear()
            self._arrived.wait(loops.RETRY_S)


def _idle_s() -> float:
    """Return a clock of the time in which this thread did not run."""
    return time.monotonic() - time.thread_time()


class PartitionQueues(Generic[T]):
    """A queue for each partition of the store, so that a stalled server does not delay the items of the others.

    The queue of partition 0 runs from the start.
    """

    def __init__(self, store: InvocationStore, make: Callable[[], GroupQueue[T, Any]]) -> None:
        self._store = store
        self._queues = defaultdict(make, {0: make()})

    @property
    def moves(self) -> int:
        """How often the queues have iterated, in all."""
        return sum(each.moves for each in self._queues.values())

    def put(self, reference_id: str, item: T) -> None:
        """Queue an item of an invocation in the queue of its partition."""
        self._queues[self._store.keys.partition_of_ref(reference_id)].put(item)

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is left; return False if that takes longer than ``timeout_s`` seconds."""
        until_s, flushed, number = boot_time_s() + timeout_s, True, 0
        while number < len(self._queues):  # a call that ends meanwhile may be the first of its partition
            queue = list(self._queues.values())[number]
            flushed = queue.flush(max(0.0, until_s - boot_time_s())) and flushed
            number += 1
        return flushed
