"""Measures for how long an event loop does not look at its sockets, by the processor time of its thread."""

from __future__ import annotations

import contextlib
import gc
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gevent import get_hub

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Stretches:
    """``longest_s`` is the most processor time, in seconds, between two looks at the sockets."""

    longest_s: float = 0.0
    looks: int = 0


@contextlib.contextmanager
def stretches() -> Iterator[Stretches]:
    """Measure this thread's event loop while the block runs. The garbage collector is off, as in `tests.linear`."""
    found, watcher = Stretches(), get_hub().loop.check()
    last_s = time.thread_time()

    def look() -> None:
        nonlocal last_s
        now_s = time.thread_time()
        found.longest_s, found.looks = max(found.longest_s, now_s - last_s), found.looks + 1
        last_s = now_s

    gc.disable()
    watcher.start(look)
    try:
        yield found
    finally:
        look()  # the loop may not have come to it
        watcher.stop()
        watcher.close()
        gc.enable()
