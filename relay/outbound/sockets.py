"""Tells which address a transfer's socket is for, and whether a kept one is still open.

libcurl (8.23) checks only once a second whether a kept connection was closed, and might use a dead one in between: the
request would be lost, and the relay could not tell whether it was received. So the relay checks before the gate.
"""

from __future__ import annotations

import _socket
import select
import socket
from typing import TYPE_CHECKING, Any, Final

from gevent.monkey import get_original

if TYPE_CHECKING:
    from collections.abc import Iterable

_KINDS: Final = 0xF  # the rest of a socket's type are flags (SOCK_CLOEXEC, SOCK_NONBLOCK)
#: Poll events of a connection that the peer has closed, or on which it sent something unrequested.
_ENDED: Final = select.POLLIN | select.POLLHUP | select.POLLERR
_poll: Final[Any] = get_original("select", "poll")  # not gevent's, which would let other greenlets run
_MAX_KNOWN: Final = 4_096  # far more connections than are ever kept


def dialled(address: Any) -> tuple[str, int]:
    """Return the address that libcurl is about to dial, as the guard judges it: text (with a scope) and port.

    Raises:
        ValueError: anything but TCP over IP.
    """
    if address.family not in (socket.AF_INET, socket.AF_INET6) or address.socktype & _KINDS != socket.SOCK_STREAM:
        raise ValueError("not TCP over IP")
    host, port, *rest = address.addr
    text = host.decode("ascii") if isinstance(host, bytes) else host
    scope = rest[1] if len(rest) > 1 else 0
    return (f"{text}%{scope}" if scope else text), port


class Sockets:
    """The sockets of one multi handle's connections, by their local ends. Never raises."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Any] = {}  # a poll object for each, so that a check costs one system call

    def learn(self, fds: Iterable[int], address: str, port: int) -> None:
        """Note that a new connection has this local end; its socket is one of ``fds``."""
        for fd in fds:
            if _local_end(fd) == (address, port):
                self._known.pop((address, port), None)
                self._known[address, port] = poll = _poll()
                poll.register(fd, select.POLLIN)
                break
        if len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def has_ended(self, address: str, port: int) -> bool:
        """Return whether the kept connection with this local end was closed by its peer."""
        poll = self._known.get((address, port))
        ready = [] if poll is None else poll.poll(0)  # empty for nearly every connection
        return bool(ready) and any(events & _ENDED for _, events in ready)


def _local_end(fd: int) -> tuple[str, int] | None:
    try:
        sock = _socket.socket(fileno=fd)
    except OSError:
        return None  # closed: another address was quicker
    try:
        address, port, *_ = sock.getsockname()
    except (OSError, ValueError):
        return None
    finally:
        sock.detach()
    return address, port
