"""Finds the server's connections as the kernel knows them: bytes received and sent, and how long ago.

The server does not show its connections to the application, so code that has to end one finds it here. Only on Linux,
whose `TCP_INFO` counts the bytes of a connection; on other systems no connections are found.
"""

from __future__ import annotations

import os
import resource
import socket
import stat
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_DESCRIPTORS: Final = Path("/proc/self/fd")
#: Part of `struct tcp_info` (linux/tcp.h): milliseconds since data was last sent, received, and acknowledged.
_AGES: Final = struct.Struct("=44xI4xII")
#: Another part of `struct tcp_info`: bytes received, bytes sent.
_BYTES: Final = struct.Struct("=128xQ64xQ")
_INFO_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Connection:
    """A client's connection at one moment. ``id`` stays the same for as long as it lives."""

    id: tuple[int, int]  # descriptor and inode
    received_bytes: int
    sent_bytes: int
    since_received_s: float
    since_sent_s: float
    since_opened_or_heard_s: float

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way: nothing was received yet, or something was sent since the last receipt."""
        if not self.received_bytes:
            return True
        return self.sent_bytes > 0 and self.since_sent_s <= self.since_received_s

    @property
    def quiet_s(self) -> float:
        """For how many seconds nothing was received."""
        return self.since_received_s if self.received_bytes else self.since_opened_or_heard_s

    def shut_reading(self) -> None:
        """Shut the connection for reading; the server answers what it has received, and then closes it."""
        self._shut(socket.SHUT_RD)

    def close(self) -> None:
        """Shut the connection in both directions."""
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        with suppress(OSError), _socket(self.id[0]) as found:
            if os.fstat(found.fileno()).st_ino == self.id[1]:
                found.shutdown(how)


def count_descriptors() -> int:
    """Return the number of open descriptors, at least that of the connections; 0 if the system does not tell."""
    try:
        return len(os.listdir(_DESCRIPTORS))  # noqa: PTH208 - faster, and there are thousands
    except OSError:
        return 0


def allow_descriptors(count: int) -> None:
    """Raise the limit of open descriptors to ``count`` more than are open now, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count_descriptors() + count
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def connections() -> list[Connection]:
    """Return the connections that clients have made to the ports on which this process listens."""
    if sys.platform != "linux":
        return []
    listening, found = set[int](), list[tuple[int, Connection]]()
    for descriptor, inode in _sockets():
        with suppress(OSError), _socket(descriptor) as each:
            if each.family not in {socket.AF_INET, socket.AF_INET6} or each.type != socket.SOCK_STREAM:
                continue
            port = each.getsockname()[1]
            if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listening.add(port)
            else:
                found.append((port, _connection(descriptor, inode, each)))
    return [connection for port, connection in found if port in listening]


def _connection(descriptor: int, inode: int, found: socket.socket) -> Connection:
    info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES).ljust(_INFO_BYTES, b"\0")
    since_sent_ms, since_received_ms, since_acknowledged_ms = _AGES.unpack_from(info)
    received_bytes, sent_bytes = _BYTES.unpack_from(info)
    return Connection(
        id=(descriptor, inode),
        received_bytes=received_bytes,
        sent_bytes=sent_bytes,
        since_received_s=since_received_ms / 1000,
        since_sent_s=since_sent_ms / 1000,
        since_opened_or_heard_s=since_acknowledged_ms / 1000,
    )


def _sockets() -> Iterator[tuple[int, int]]:
    """Yield descriptor and inode of every open socket."""
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208
        with suppress(OSError):
            found = os.fstat(int(name))
            if stat.S_ISSOCK(found.st_mode):
                yield int(name), found.st_ino


def _socket(descriptor: int) -> socket.socket:
    """Return a duplicate descriptor of a socket; closing it leaves the connection open."""
    return socket.socket(fileno=os.dup(descriptor))
