"""Group commit: one thread commits the items of concurrent threads together.

A lone item is committed at once. Under load, a group is what arrived while the previous one was being committed
(docs/adr/0066). Replies go to callbacks, so that a caller that waits for a later event anyway is not woken twice.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from relay.errors import RelayError, StoreFault, Unavailable
from relay.process.loops import Loop, Over
from relay.telemetry import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: After a commit that has taken longer than this, in seconds, and failed because the store was away, whatever waited
#: meanwhile fails with it.
SILENT_S: Final = 2.0

T = TypeVar("T")
R = TypeVar("R")


class _Pending(NamedTuple, Generic[T, R]):
    """An item that waits for its group; ``deliver`` receives its reply, or the error of the whole group."""

    item: T
    size_bytes: int
    deliver: Callable[[R | Exception], None]


class GroupCommit(Generic[T, R]):
    """Commits items in groups of at most ``max_items`` and ``max_bytes``; a larger single item is committed alone.

    ``commit`` gets the items of a group in order and returns one reply for each. If it raises `StoreFault` or an
    unexpected exception, the items are committed one by one; any other error goes to every caller of the group. Once a
    commit has been running for longer than ``patience_s`` seconds, further items get `Unavailable` at once; if that is
    None, they wait.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[T]], Sequence[R]],
        *,
        max_items: int,
        max_bytes: int,
        patience_s: float | None = None,
    ) -> None:
        self._commit = commit
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._patience_s = patience_s
        self._begun_s: float | None = None  # when the running commit began; None between commits
        self._waiting: SimpleQueue[_Pending[T, R] | None] = SimpleQueue()  # None: nothing comes after it
        self._next: _Pending[T, R] | None = None  # taken, but too large for the last group
        self._loop = Loop("commit", self._iterate, time.sleep)
        self._starting = threading.Lock()
        self._committer: threading.Thread | None = None  # started by the first item, so after any fork

    def submit(self, item: T, size_bytes: int, deliver: Callable[[R | Exception], None]) -> None:
        """Add one item; ``deliver`` gets its reply or error later (while a commit stalls: at once, in this thread)."""
        begun_s = self._begun_s
        if self._patience_s is not None and begun_s is not None and time.monotonic() - begun_s > self._patience_s:
            deliver(Unavailable())
            return
        self._waiting.put(_Pending(item, size_bytes, deliver))
        if self._committer is None:
            self._start()

    def close(self) -> None:
        """Let the committing thread end once it has committed the waiting items. Submit nothing afterwards."""
        self._waiting.put(None)

    def _start(self) -> None:
        with self._starting:
            if self._committer is None:
                self._committer = threading.Thread(target=self._loop.run, name="group-commit", daemon=True)
                self._committer.start()

    def _iterate(self) -> None:
        group = self._take()
        self._begun_s = began_s = time.monotonic()
        replies = self._replies(group)
        self._begun_s = None
        if isinstance(replies[0], Unavailable) and time.monotonic() - began_s > SILENT_S:
            # What waits would wait as long again, group after group, and hold the threads of the process.
            waiting = [self._waiting.get() for _ in range(self._waiting.qsize())]
            group += [each for each in waiting if each is not None]
            replies = [replies[0]] * len(group)
            if None in waiting:
                self._waiting.put(None)
        for each, reply in zip(group, replies, strict=True):
            try:
                each.deliver(reply)
            except Exception as error:  # noqa: BLE001 - the other replies of the group must still be delivered
                log.fault(error, "deliver")

    def _replies(self, group: Sequence[_Pending[T, R]]) -> Sequence[R | Exception]:
        try:
            replies = self._commit([each.item for each in group])
        except Exception as error:  # noqa: BLE001 - the whole group failed: each caller gets the error
            if len(group) > 1 and (isinstance(error, StoreFault) or not isinstance(error, RelayError)):
                return [self._replies([each])[0] for each in group]  # one item may have made the others fail
            return [error] * len(group)
        if len(replies) != len(group):
            return [RuntimeError("a commit returned a different number of replies than it got items")] * len(group)
        return replies

    def _take(self) -> list[_Pending[T, R]]:
        """Take the next group in order of arrival; wait for its first item."""
        first = self._next or self._waiting.get()
        if first is None:
            raise Over
        self._next, group, size_bytes = None, [first], first.size_bytes
        while len(group) < self._max_items and not self._waiting.empty():
            each = self._waiting.get()
            if each is None:
                self._waiting.put(None)
                break
            if size_bytes + each.size_bytes > self._max_bytes:
                self._next = each
                break
            group.append(each)
            size_bytes += each.size_bytes
        return group
