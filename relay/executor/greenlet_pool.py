"""A pool of greenlets, because CPython maps memory for the frames of each new one and unmaps it at its end.

These two system calls and a page fault or two cost about 10 us, and a whole call little more than 100.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import gevent
from gevent.queue import SimpleQueue

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class GreenletPool(Generic[T]):
    """Calls ``work`` for any number of items at a time. As many greenlets stay as were ever busy at once."""

    def __init__(self, work: Callable[[T], None]) -> None:
        self._work = work
        self._items: SimpleQueue[T] = SimpleQueue()
        self._idle = 0  # greenlets that wait, less the items that wait for one

    def start(self, item: T) -> None:
        """Start an item's work soon, and return at once."""
        if self._idle:
            self._idle -= 1
        else:
            gevent.spawn_raw(self._serve)
        self._items.put(item)

    def _serve(self) -> None:
        while True:
            self._work(self._items.get())
            self._idle += 1
