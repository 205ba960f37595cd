"""Measures how long work keeps the other threads of its process from running."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.timing import least

if TYPE_CHECKING:
    from collections.abc import Callable

_TRIES = 10
_TICK_S = 0.0005
_REFERENCE = "[" + "[]," * 25_000 + "0]"
#: The processor time, in seconds, to parse and drop `_REFERENCE` on the machine that bounds are meant for, when idle.
_REFERENCE_S = 0.0025


def longest_hold_s(work: Callable[[], object], *, within_s: float) -> float:
    """Return the longest time, in seconds, for which ``work`` in a thread kept the interpreter, at its best.

    It is the processor time of that thread between two moments at which another thread ran, divided by how much slower
    the processor is now than when idle.
    """
    return least(lambda: _longest_s(work) / slowness(), wanted=within_s, tries=_TRIES)


def slowness() -> float:
    """Return how many times slower the processor is now than when idle."""
    began_s = time.thread_time()
    json.loads(_REFERENCE)
    return max(1.0, (time.thread_time() - began_s) / _REFERENCE_S)


def _longest_s(work: Callable[[], object]) -> float:
    begin, read = threading.Event(), threading.Event()
    clocks: list[int] = []
    done: list[None] = []

    def run() -> None:
        clocks.append(time.pthread_getcpuclockid(threading.get_ident()))
        begin.wait()
        try:
            with suppress(Exception):  # a refusal, whose time counts too
                work()
        finally:
            done.append(None)
            read.wait()  # a thread that has ended has no clock

    thread = threading.Thread(target=run)
    thread.start()
    while not clocks:
        time.sleep(_TICK_S)
    before_s, longest_s = time.clock_gettime(clocks[0]), 0.0
    begin.set()
    while not done:
        time.sleep(_TICK_S)
        now_s = time.clock_gettime(clocks[0])
        before_s, longest_s = now_s, max(longest_s, now_s - before_s)
    longest_s = max(longest_s, time.clock_gettime(clocks[0]) - before_s)
    read.set()
    thread.join()
    return longest_s
