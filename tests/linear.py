"""Checks that work grows linearly with its input, by the processor time of this thread."""

from __future__ import annotations

import contextlib
import gc
import time

from relay.errors import RelayError

GROWTH = 8  # the long input is this many times the short one
TRIES = 5
LEAST_S = 0.0005  # shorter work cannot be measured
TOLERANCE = 3.0  # times the linear expectation; quadratic work would take 8 times as much


def seconds(read, text):
    """Return the processor time, in seconds, that this thread takes; other processes hardly affect it.

    The garbage collector is off, because it would search everything that the tests of this process have made.
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
    """Raise AssertionError if the work grows faster than its input.

    Takes the least of a few tries if the first is too long: another process may have evicted the caches.
    """
    short_text, long_text = make(size), make(size * GROWTH)
    short = seconds(read, short_text)
    if short > LEAST_S:
        short = min(short, seconds(read, short_text))
    short = max(short, LEAST_S)
    for _ in range(TRIES):
        long = seconds(read, long_text)
        if long <= short * GROWTH * TOLERANCE:
            return
    raise AssertionError(f"{make(40)!r}...: {short:.4f} s became {long:.4f} s")
