"""Group commit: one thread commits the items of concurrent threads together.

A lone item is committed at once. Under load, a group is what arrived while the previous one was being committed
(docs/adr/0066). Replies go to callbacks, so that a caller that waits for a later event anyway is not woken twice.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from relay.errors import RelayError, StoreFault, Unavailable
from relay.process.loops import Loop, Over
from relay.telemetry import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class _Pending(Generic[T, R]):
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
        self._changed = threading.Condition()
        self._waiting: list[_Pending[T, R]] = []
        self._idle = False
        self._closed = False
        self._loop = Loop("commit", self._iterate, time.sleep)
        self._committer: threading.Thread | None = None  # started by the first item, so after any fork

    def submit(self, item: T, size_bytes: int, deliver: Callable[[R | Exception], None]) -> None:
        """Add one item; ``deliver`` gets its reply or error later (while a commit stalls: at once, in this thread)."""
        begun_s = self._begun_s
        if self._patience_s is not None and begun_s is not None and time.monotonic() - begun_s > self._patience_s:
            deliver(Unavailable())
            return
        with self._changed:
            self._waiting.append(_Pending(item, size_bytes, deliver))
            if self._committer is None:
                self._committer = threading.Thread(target=self._loop.run, name="group-commit", daemon=True)
                self._committer.start()
            if self._idle:
                self._changed.notify()

    def close(self) -> None:
        """Let the committing thread end once it has committed the waiting items. Submit nothing afterwards."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _iterate(self) -> None:
        group = self._take()
        self._begun_s = time.monotonic()
        replies = self._replies(group)
        self._begun_s = None
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
        with self._changed:
            self._idle = True
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                raise Over
            self._idle = False
            count, size_bytes = 0, 0
            for each in self._waiting[: self._max_items]:
                if count and size_bytes + each.size_bytes > self._max_bytes:
                    break
                count, size_bytes = count + 1, size_bytes + each.size_bytes
            group = self._waiting[:count]
            del self._waiting[:count]
        return group
