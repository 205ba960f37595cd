"""File descriptors of a test process: what is left open file after file is what a whole run fails of in the end."""

from __future__ import annotations

import gc
import time

import psutil

from tests.timing import BUSY_S

#: What servers of the whole session and their clients may have opened meanwhile, and nothing closes before the end.
MOST_LEFT = 32


def count() -> int:
    """How many are open, but for the connections that a server of this process has accepted.

    Those are their callers': a relay keeps those of the whole session.
    """
    return psutil.Process().num_fds() - _accepted()


def left_since(before: int) -> int:
    """How many more there are than there were, if too many.

    Those that nothing refers to are closed first, and a server's last threads may take a while to close theirs.
    """
    if count() - before <= MOST_LEFT:
        return 0
    gc.collect()
    deadline_s = time.monotonic() + BUSY_S
    while (left := count() - before) > MOST_LEFT:
        if time.monotonic() > deadline_s:
            return left
        time.sleep(0.1)
    return 0


def _accepted() -> int:
    sockets = psutil.Process().net_connections("inet")
    served = {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}
    return sum(each.status != psutil.CONN_LISTEN and bool(each.laddr) and each.laddr.port in served for each in sockets)
