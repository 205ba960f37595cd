"""Reuses greenlets, because CPython maps memory for the frames of each new one and unmaps it when that one ends.

The two system calls and a page fault or two cost about 10 us, where a whole call costs little more than 100 us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import gevent
from gevent.queue import SimpleQueue

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class GreenletPool(Generic[T]):
    """Calls ``work`` for any number of items at a time, and keeps as many greenlets as were ever busy at once."""

    def __init__(self, work: Callable[[T], None]) -> None:
        self._work = work
        self._items: SimpleQueue[T] = SimpleQueue()
        self._idle = 0  # waiting greenlets, minus the items that they have not taken yet

    def start(self, item: T) -> None:
        """Have an item worked on soon, and return at once."""
        if self._idle:
            self._idle -= 1
        else:
            gevent.spawn_raw(self._serve)
        self._items.put(item)

    def _serve(self) -> None:
        while True:
            self._work(self._items.get())
            self._idle += 1
