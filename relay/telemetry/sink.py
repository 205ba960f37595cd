"""Where log lines go: a descriptor that is never waited for, and whose failures are nobody's.

It may be full, closed, slow or gone. Work goes on: what it does not take now is kept up to a bound, and beyond that
dropped and counted.
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

#: Kept for a sink that takes nothing now.
MAX_KEPT_BYTES: Final = 256 * 1024


class LogSink:
    """Takes whole lines, from any thread. ``dropped_line`` makes the line that says how many were dropped."""

    def __init__(self, descriptor: int | None, dropped_line: Callable[[int], bytes]) -> None:
        self._write = _writer(descriptor)
        self._dropped_line = dropped_line
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._lock = Lock()  # of what is kept; a sink that takes everything needs none
        self._told = 0
        self.dropped = 0

    def put(self, line: bytes) -> None:
        """Write a line, now or later or not at all. Never raises, never waits."""
        data = line + b"\n"
        if self._kept or self.dropped > self._told:
            with self._lock:
                self._catch_up(data)
            return
        left = self._try(data)
        if left:
            with self._lock:
                self._keep(left)

    def _catch_up(self, data: bytes) -> None:
        """Write what was kept, then this, as far as the sink takes it."""
        while self._kept:
            left = self._try(self._kept[0])
            if left:
                self._kept_bytes -= len(self._kept[0]) - len(left)
                self._kept[0] = left
                self._keep(data)
                return
            self._kept_bytes -= len(self._kept.pop(0))
        count = self.dropped
        if count > self._told:
            data = self._dropped_line(count - self._told) + b"\n" + data
        left = self._try(data)
        if self.dropped > count:  # as dead as before: this line is one more
            return
        self._told = count
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
        """Write; returns what the sink does not take now. What it refuses is dropped."""
        try:
            return data[self._write(data) :]
        except BlockingIOError:
            return data
        except Exception:  # noqa: BLE001 - closed, full, gone: nothing here may be in the way of work
            self.dropped += 1
            return b""


def _writer(descriptor: int | None) -> Callable[[bytes], int]:
    """Return how to write to a descriptor without waiting; its own, so that nobody else's writes change."""
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
