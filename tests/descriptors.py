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
_CLOSED = 7  # TCP_CLOSE of linux/tcp_states.h


def count() -> int:
    """Return how many descriptors are open, without a server's accepted connections and without sockets that hold a port.

    The first depend on the callers: a relay keeps its connections for the whole session. The second are few
    (`relay.up.ports.FreePorts`).
    """
    descriptors = [int(path.name) for path in Path("/dev/fd").iterdir()]
    return len(descriptors) - _uncounted(descriptors)


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


def _uncounted(descriptors: list[int]) -> int:
    found: dict[str, list[int]] = {"served": [], "connected": [], "held": []}
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # it is closed meanwhile
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                _add_port(descriptor, found)
    return sum(port in found["served"] for port in found["connected"]) + len(found["held"])


def _add_port(descriptor: int, found: dict[str, list[int]]) -> None:
    """Add the port of a TCP socket to those of its kind.

    Asks the socket itself: the system's table of connections is long when many tests run at once.
    """
    asked = socket.socket(fileno=descriptor)
    try:
        if asked.family in {socket.AF_INET, socket.AF_INET6} and asked.type == socket.SOCK_STREAM:
            found[_kind(asked)].append(asked.getsockname()[1])
    finally:
        asked.detach()


def _kind(asked: socket.socket) -> str:
    if asked.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "served"
    state = asked.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return "held" if state == _CLOSED and asked.getsockname()[1] else "connected"
