"""The processor that an API process is kept on, if it is told to.

Python runs one thread at a time, so that an API process uses little more than one processor. Its threads hand over to
each other some ten times a call; from one processor to another that is an interrupt each (ADR 0019).
"""

from __future__ import annotations

import os


def keep_on(number: int) -> None:
    """Keep this thread, and those that it starts from now on, on the ``number``-th processor that it may use.

    Counted around, so that processes that were given their numbers one by one are spread. Nothing where the system
    cannot do that (`sched_setaffinity(2)` is Linux's).
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[number % len(allowed)]})
