"""Keeps an API process on one processor, if the settings ask for it.

Python runs one thread at a time, so an API process uses little more than one processor. Its threads hand over to each
other about ten times a call; each hand-over from one processor to another costs an interrupt (ADR 0019).
"""

from __future__ import annotations

import os


def keep_on(number: int) -> None:
    """Keep this thread, and those that it starts from now on, on the ``number``-th processor that it may use.

    Numbers beyond the last processor start again at the first, so processes with consecutive numbers are spread over
    all of them. Does nothing where the system lacks `sched_setaffinity(2)`, which only Linux has.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[number % len(allowed)]})
