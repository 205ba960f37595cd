"""Writes log lines to a descriptor without ever waiting for it, and without raising its errors.

The descriptor may be full, closed, slow or gone, and work goes on: lines that it does not take now are kept up to a
limit, and beyond that dropped and counted.
"""

from __future__ import annotations

import _socket  # the plain one: gevent's would wait
import os
import stat
import sys
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: How many bytes are kept for a sink that takes nothing now.
MAX_KEPT_BYTES: Final = 256 * 1024


class LogSink:
    """Takes whole lines, from any thread. ``dropped_line`` makes the line that says how many were dropped."""

    def __init__(self, descriptor: int | None, dropped_line: Callable[[int], bytes]) -> None:
        self._write = _writer(descriptor)
        self._dropped_line = dropped_line
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._lock = Lock()  # for the kept lines; a sink that takes everything needs none
        self._reported = 0  # dropped lines that a line has reported
        self.dropped = 0

    def put(self, line: bytes) -> None:
        """Write a line now, keep it for later, or drop it. Never raises, never waits."""
        data = line + b"\n"
        if self._kept or self.dropped > self._reported:
            with self._lock:
                self._catch_up(data)
            return
        left = self._try(data)
        if left:
            with self._lock:
                self._keep(left)

    def _catch_up(self, data: bytes) -> None:
        """Write the kept lines and then ``data``, as far as the sink takes them."""
        while self._kept:
            left = self._try(self._kept[0])
            if left:
                self._kept_bytes -= len(self._kept[0]) - len(left)
                self._kept[0] = left
                self._keep(data)
                return
            self._kept_bytes -= len(self._kept.pop(0))
        count = self.dropped
        if count > self._reported:
            data = self._dropped_line(count - self._reported) + b"\n" + data
        left = self._try(data)
        if self.dropped > count:  # the sink still refuses everything, so this line was dropped too
            return
        self._reported = count
        self._keep(left)

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        if self._kept_bytes + len(data) > MAX_KEPT_BYTES:
            self.dropped += 1
            return
        self._kept.append(data)
        self._kept_bytes += len(data)

    def _try(self, data: bytes) -> bytes:
        """Write data; return the part that the sink does not take now. Data that it refuses is dropped."""
        try:
            return data[self._write(data) :]
        except BlockingIOError:
            return data
        except Exception:  # noqa: BLE001 - closed, full, gone: the log must not get in the way of work
            self.dropped += 1
            return b""


def _writer(descriptor: int | None) -> Callable[[bytes], int]:
    """Return a function that writes without waiting, by a descriptor of its own: other writers' stay blocking."""
    try:
        if descriptor is None:
            return _nowhere
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(kind):
            connection = _socket.socket(fileno=os.dup(descriptor))
            return lambda data: connection.send(data, _socket.MSG_DONTWAIT)
        own = _reopened(descriptor) if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind) else None
        own = os.dup(descriptor) if own is None else own
    except OSError:
        return _nowhere
    return lambda data: os.write(own, data)


def _nowhere(_data: bytes) -> int:
    raise OSError("there is no log")


def _reopened(descriptor: int) -> int | None:
    """Open the pipe or terminal of a descriptor again, non-blocking; other processes that write to it keep blocking."""
    if sys.platform == "linux":
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(f"/proc/self/fd/{descriptor}", flags)
    return None
