"""Finds free loopback ports, and counts the sockets that listen on one that several processes share."""

from __future__ import annotations

import secrets
import socket
import sys
from pathlib import Path
from typing import Final

from relay.up.processes import LOOPBACK

#: Whether several processes can listen on one port, each with its own socket, and share its connections: Granian sets
#: `SO_REUSEPORT`, which spreads connections on Linux only (`socket(7)`).
CAN_BE_SHARED: Final = sys.platform == "linux"
_TCP: Final = Path("/proc/net/tcp")
_CLIENTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: The lowest port to choose; well-known services have lower ones.
_FIRST: Final = 10_000
_TRIES: Final = 64
_LISTENING: Final = "0A"  # TCP_LISTEN of linux/tcp_states.h


def is_free(port: int) -> bool:
    """Return whether nothing listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return False
    return True


class FreePorts:
    """Chooses loopback ports for processes that are yet to start, none of them twice.

    Avoids the ports that the system gives to outgoing connections, if it tells which these are and leaves others: a
    server that is restarted could find its port taken by such a connection.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, port: int) -> bool:
        """Take a port if nothing listens on it and it was not taken before; return whether it was taken now."""
        if port in self._taken or not is_free(port):
            return False
        self._taken.add(port)
        return True

    def choose(self) -> int:
        """Return a port that nothing listens on and that was not taken before; take it."""
        below = _first_of_clients() - _FIRST
        for _ in range(_TRIES if below > 0 else 0):
            port = _FIRST + secrets.randbelow(below)
            if self.take(port):
                return port
        return self._choice_of_the_system()

    def _choice_of_the_system(self) -> int:
        while True:
            with socket.socket() as probe:
                probe.bind((LOOPBACK, 0))
                port = int(probe.getsockname()[1])
            if self.take(port):
                return port


def _first_of_clients() -> int:
    """Return the lowest port that outgoing connections are given (`ip(7)`); 0 if the system does not tell."""
    try:
        return int(_CLIENTS.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def listeners_on(port: int) -> int:
    """Return how many sockets listen on a port over IPv4, one for each process that shares it; only on Linux."""
    rows = (line.split() for line in _TCP.read_text(encoding="ascii").splitlines()[1:])
    return sum(row[3] == _LISTENING and row[1].endswith(f":{port:04X}") for row in rows)
