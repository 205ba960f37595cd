"""What kombu waits with for its lanes: `poll()`, which takes any descriptor.

Under gevent kombu uses `select()`, which takes none from 1,024 on: a broker connection that is made anew in a worker
with as many calls in flight would end it.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any, Final

import gevent
import gevent.select
from gevent.monkey import get_original
from kombu.utils.eventio import ERR, READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Iterable

_FLAGS: Final = {READ: select.POLLIN, WRITE: select.POLLOUT}
_MOMENT_S: Final = 0.05


class LaneWaits:
    """The waits for lanes in this process, all of which end when it has been told to stop.

    Celery looks whether it has been told so between two waits, of one and two seconds.
    """

    def __init__(self) -> None:
        self._greenlets: set[Any] = set()
        self._ended = False

    def wait(self, waiting: Any, timeout_s: float | None) -> list[tuple[int, int]]:
        """Return what has happened, after at most so many seconds (None: as many as it takes), in which others run.

        Raises TimeoutError, as kombu does at the end of its time, in a process that has been told to stop.
        """
        if self._ended:
            gevent.sleep(_MOMENT_S)
            raise TimeoutError
        greenlet = gevent.getcurrent()
        self._greenlets.add(greenlet)
        try:
            found: list[tuple[int, int]] = waiting.poll(None if timeout_s is None else 1000 * timeout_s)
        finally:
            self._greenlets.discard(greenlet)
        return found

    def end(self) -> None:
        """End every wait, and those to come as soon as they begin. A signal handler may call this."""
        self._ended = True
        gevent.get_hub().loop.run_callback(self._interrupt)

    def _interrupt(self) -> None:
        for greenlet in tuple(self._greenlets):
            greenlet.throw(TimeoutError)


#: Those of this worker.
LANE_WAITS: Final = LaneWaits()


class LanePoller:
    """kombu's poller, as its Redis transport uses one. A descriptor that was closed is forgotten."""

    def __init__(self) -> None:
        self._at_once: select.poll = get_original("select", "poll")()
        self._waiting = gevent.select.poll()
        self._known: set[int] = set()

    def register(self, file: Any, events: int) -> int:
        """Look for these events of a file, or of what has one, from now on."""
        fd = _number_of(file)
        flags = sum(flag for event, flag in _FLAGS.items() if events & event)
        self._at_once.register(fd, flags)
        self._waiting.register(fd, flags)
        self._known.add(fd)
        return fd

    def unregister(self, file: Any) -> None:
        """Look for it no longer; nothing, where it is not known."""
        fd = _number_of(file)
        if fd in self._known:
            self._known.remove(fd)
            self._at_once.unregister(fd)
            self._waiting.unregister(fd)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return what has happened, after at most so many seconds (None: as many as it takes), in which others run.

        Raises TimeoutError where nothing has, in a process that has been told to stop.
        """
        found = self._at_once.poll(0)
        if found or timeout == 0:
            gevent.sleep(0)  # others have their turn while lanes are never empty
        else:
            found = LANE_WAITS.wait(self._waiting, timeout)
        return self._told(found)

    def close(self) -> None:
        """Stop looking for messages."""
        for fd in tuple(self._known):
            self.unregister(fd)

    def _told(self, found: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        told = []
        for fd, flags in found:
            if flags & select.POLLNVAL:
                self.unregister(fd)
                continue
            events = sum(event for event, flag in _FLAGS.items() if flags & flag)
            told.append((fd, events | (ERR if flags & (select.POLLERR | select.POLLHUP) else 0)))
        return told


def _number_of(file: Any) -> int:
    return file if isinstance(file, int) else int(file.fileno())
