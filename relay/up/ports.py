"""Loopback ports: which are free, and how many sockets listen on one that several processes share."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Final

from relay.up.processes import LOOPBACK

#: Whether processes may listen on one port, each with a socket of its own, and are given connections in turn: Granian
#: sets `SO_REUSEPORT`, which spreads them on Linux only (`socket(7)`).
CAN_BE_SHARED: Final = sys.platform == "linux"
_TCP: Final = Path("/proc/net/tcp")
_LISTENING: Final = "0A"  # TCP_LISTEN of linux/tcp_states.h


def is_free(port: int) -> bool:
    """Whether nothing listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return False
    return True


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def listeners_on(port: int) -> int:
    """How many sockets listen on a port over IPv4, one a process that shares it; on Linux only."""
    rows = (line.split() for line in _TCP.read_text(encoding="ascii").splitlines()[1:])
    return sum(row[3] == _LISTENING and row[1].endswith(f":{port:04X}") for row in rows)
