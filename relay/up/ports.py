"""Finds free loopback ports, and counts the sockets that listen on one that several processes share."""

from __future__ import annotations

import secrets
import socket
import sys
from collections import deque
from pathlib import Path
from typing import Final

from relay.errors import SettingsError
from relay.text.hosts import LOOPBACK

#: Whether several processes can listen on one port, each with its own socket, and share its connections: Granian sets
#: `SO_REUSEPORT`, which spreads connections on Linux only (`socket(7)`).
CAN_BE_SHARED: Final = sys.platform == "linux"
_TCP: Final = Path("/proc/net/tcp")
_CLIENTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: The lowest port to choose; well-known services have lower ones.
_FIRST: Final = 10_000
_TRIES: Final = 64
#: How many ports are held; none where a server could not listen beside the holder.
_MOST_HELD: Final = 64 if sys.platform == "linux" else 0
_LISTENING: Final = "0A"  # TCP_LISTEN of linux/tcp_states.h


class FreePorts:
    """Chooses loopback ports for processes that are yet to start, none of them twice.

    On Linux the latest ones are held: a socket is bound to each and does not listen, so that other processes, which
    choose in the same way, find it taken, while a server can listen on it if it sets `SO_REUSEADDR`, as usual.
    Avoids the ports that the system gives to outgoing connections, if it tells which these are and leaves others: a
    server that is restarted could find its port taken by such a connection.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._held: deque[socket.socket] = deque()

    def take(self, port: int) -> bool:
        """Take a port if nothing listens on it and it was not taken before; return whether it was taken now."""
        return self._bind(port, beside_others=True) == port

    def choose(self) -> int:
        """Return a port that nobody listens on, holds or has taken before; take it.

        Raises:
            SettingsError: there is none.
        """
        below = _first_of_clients() - _FIRST
        for _ in range(_TRIES if below > 0 else 0):
            if port := self._bind(_FIRST + secrets.randbelow(below)):
                return port
        for _ in range(_TRIES):
            if port := self._bind(0):
                return port
        raise SettingsError(f"No port of {LOOPBACK} can be listened on: is this machine's loopback interface up?")

    def _bind(self, port: int, *, beside_others: bool = False) -> int:
        """Bind a socket to a port, or to any if it is 0, and hold it; return the port, or 0 if that cannot be taken.

        With ``beside_others`` sockets that do not listen do not matter, such as those of connections that have ended.
        """
        holder = socket.socket()
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, beside_others)  # without, holders are in its way
            holder.bind((LOOPBACK, port))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # lets the server bind beside this holder
            bound = int(holder.getsockname()[1])
        except (OSError, OverflowError):
            bound = 0
        if bound in self._taken or not bound:
            holder.close()
            return 0
        self._taken.add(bound)
        self._held.append(holder)
        while len(self._held) > _MOST_HELD:
            self._held.popleft().close()
        return bound


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
