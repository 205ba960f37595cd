"""File descriptors of a test process: what is left open file after file is what a whole run fails of in the end."""

from __future__ import annotations

import gc

import psutil

#: What servers of the whole session and their clients may have opened meanwhile, and nothing closes before the end.
MOST_LEFT = 32


def count() -> int:
    """How many are open, but for the connections that a server of this process has accepted.

    Those are their callers': a relay keeps those of the whole session.
    """
    return psutil.Process().num_fds() - _accepted()


def left_since(before: int) -> int:
    """How many more there are than there were, if too many: those that nothing refers to are closed first."""
    if (left := count() - before) <= MOST_LEFT:
        return 0
    gc.collect()
    left = count() - before
    return left if left > MOST_LEFT else 0


def _accepted() -> int:
    sockets = psutil.Process().net_connections("inet")
    served = {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}
    return sum(each.status != psutil.CONN_LISTEN and bool(each.laddr) and each.laddr.port in served for each in sockets)
