"""Checks that test files close their file descriptors: leaks that add up over the files would make a whole run fail."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import stat
import time
from pathlib import Path

from tests.timing import BUSY_S

#: How many descriptors the session's servers and their clients may open during a file and keep until the end.
MOST_LEFT = 32


def count() -> int:
    """Return how many descriptors are open, without the connections that a server of this process has accepted.

    Those depend on the callers: a relay keeps its connections for the whole session.
    """
    descriptors = [int(path.name) for path in Path("/dev/fd").iterdir()]
    return len(descriptors) - _accepted(descriptors)


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


def _accepted(descriptors: list[int]) -> int:
    served: set[int] = set()
    ports: list[int] = []
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # it is closed meanwhile
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                _add_port(descriptor, served, ports)
    return sum(port in served for port in ports)


def _add_port(descriptor: int, served: set[int], ports: list[int]) -> None:
    """Add a socket's port to ``served`` if it listens, otherwise to ``ports``.

    Asks the socket itself: the system's table of connections is long when many tests run at once.
    """
    asked = socket.socket(fileno=descriptor)
    try:
        if asked.family in {socket.AF_INET, socket.AF_INET6}:
            port = asked.getsockname()[1]
            if asked.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                served.add(port)
            else:
                ports.append(port)
    finally:
        asked.detach()
