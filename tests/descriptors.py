"""Checks that test files close their file descriptors: leaks that add up over the files would make a whole run fail."""

from __future__ import annotations

import gc
import time

import psutil

from tests.timing import BUSY_S

#: How many descriptors the session's servers and their clients may open during a file and keep until the end.
MOST_LEFT = 32


def count() -> int:
    """Return how many descriptors are open, without the connections that a server of this process has accepted.

    Those depend on the callers: a relay keeps its connections for the whole session.
    """
    return psutil.Process().num_fds() - _accepted()


def left_since(before: int, *, within_s: float = BUSY_S) -> int:
    """Return how many descriptors were opened since ``before`` was counted, or 0 if at most ``MOST_LEFT``.

    Collects unreferenced ones first, and waits up to ``within_s`` for a server's last threads to close theirs.
    """
    if count() - before <= MOST_LEFT:
        return 0
    gc.collect()
    deadline_s = time.monotonic() + within_s
    while (left := count() - before) > MOST_LEFT:
        if time.monotonic() > deadline_s:
            return left
        time.sleep(0.1)
    return 0


def _accepted() -> int:
    sockets = psutil.Process().net_connections("inet")
    served = {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}
    return sum(each.status != psutil.CONN_LISTEN and bool(each.laddr) and each.laddr.port in served for each in sockets)
