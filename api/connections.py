"""The connections of this process's server, as the kernel knows them: what came, what went, and how long ago.

The server shows the application no connection, so that whoever has to end one looks here. Only on Linux, whose
`TCP_INFO` counts the bytes of a connection; elsewhere there are none to be seen.
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
#: Of `struct tcp_info` (linux/tcp.h): milliseconds since data went, since data came, since anything was acknowledged.
_AGES: Final = struct.Struct("=44xI4xII")
#: Bytes that came; bytes that went.
_BYTES: Final = struct.Struct("=128xQ64xQ")
_INFO_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Connection:
    """A client's connection at one moment. ``id`` names it for as long as it lives."""

    id: tuple[int, int]  # descriptor and inode
    received_bytes: int
    sent_bytes: int
    since_received_s: float
    since_sent_s: float
    since_opened_or_heard_s: float

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked of us: no byte came yet, or the answer to what came last has gone."""
        if not self.received_bytes:
            return True
        return self.sent_bytes > 0 and self.since_sent_s <= self.since_received_s

    @property
    def quiet_s(self) -> float:
        """How long nothing has come."""
        return self.since_received_s if self.received_bytes else self.since_opened_or_heard_s

    def hear_no_more(self) -> None:
        """Take nothing more from it; what was asked before is answered, and the server then closes it."""
        self._shut(socket.SHUT_RD)

    def close(self) -> None:
        """End it."""
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        with suppress(OSError), _socket(self.id[0]) as found:
            if os.fstat(found.fileno()).st_ino == self.id[1]:
                found.shutdown(how)


def count_descriptors() -> int:
    """Count the open descriptors, which are never fewer than the connections."""
    try:
        return len(os.listdir(_DESCRIPTORS))  # noqa: PTH208 - four times a second, of thousands
    except OSError:
        return 0


def allow_descriptors(count: int) -> None:
    """Let this process have so many more descriptors open than it has now, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count_descriptors() + count
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def connections() -> list[Connection]:
    """List the connections that clients have made to what this process listens on."""
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
    """Descriptor and inode of every socket."""
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208
        with suppress(OSError):
            found = os.fstat(int(name))
            if stat.S_ISSOCK(found.st_mode):
                yield int(name), found.st_ino


def _socket(descriptor: int) -> socket.socket:
    """Return another descriptor of the same socket: to close it ends nothing."""
    return socket.socket(fileno=os.dup(descriptor))
