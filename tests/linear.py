"""Whether work grows as what it is given, by the processor time of this thread."""

from __future__ import annotations

import contextlib
import gc
import time

from relay.errors import RelayError

GROWTH = 8  # times the length
TRIES = 5
TOLERANCE = 3.0  # of the time that this many times the length may take: a square would take 8 times as much


def seconds(read, text):
    """CPU time of this thread: who else runs has little to do with it.

    Without the garbage collector, which goes through everything that the tests of this process have made.
    """
    gc.disable()
    try:
        started = time.thread_time()
        with contextlib.suppress(RelayError):
            read(text)
        return time.thread_time() - started
    finally:
        gc.enable()


def assert_linear(read, make, size):
    """The least of a few, should the first be too long: another process may have had the caches."""
    short_text, long_text = make(size), make(size * GROWTH)
    short = max(min(seconds(read, short_text), seconds(read, short_text)), 0.0005)
    for _ in range(TRIES):
        long = seconds(read, long_text)
        if long <= short * GROWTH * TOLERANCE:
            return
    raise AssertionError(f"{make(40)!r}...: {short:.4f} s became {long:.4f} s")
