"""Lets kombu wait for its lanes with `poll()`, which takes any descriptor.

Under gevent, kombu uses `select()`, which takes no descriptor above 1,023: a worker with that many calls in flight
would die when it reconnects to the broker.
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
    """The waits for lanes in this process, which all end as soon as it is told to stop.

    Celery itself checks for a stop only between waits, which take one or two seconds.
    """

    def __init__(self) -> None:
        self._greenlets: set[Any] = set()
        self._ended = False

    def wait(self, waiting: Any, timeout_s: float | None) -> list[tuple[int, int]]:
        """Return the events of ``waiting``, after at most ``timeout_s`` (None: no limit); let other greenlets run.

        Raises TimeoutError, as kombu does at the end of a wait, in a process that has been told to stop.
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
        """End all waits, and later ones soon after they begin. A signal handler may call this."""
        self._ended = True
        gevent.get_hub().loop.run_callback(self._interrupt)

    def _interrupt(self) -> None:
        for greenlet in tuple(self._greenlets):
            greenlet.throw(TimeoutError)


#: The waits of this process.
LANE_WAITS: Final = LaneWaits()


class LanePoller:
    """A poller for kombu's Redis transport; it forgets descriptors that were closed."""

    def __init__(self) -> None:
        self._at_once: select.poll = get_original("select", "poll")()
        self._waiting = gevent.select.poll()
        self._known: set[int] = set()

    def register(self, file: Any, events: int) -> int:
        """Watch for these events of a descriptor, or of an object that has one; return the descriptor."""
        fd = _number_of(file)
        flags = sum(flag for event, flag in _FLAGS.items() if events & event)
        self._at_once.register(fd, flags)
        self._waiting.register(fd, flags)
        self._known.add(fd)
        return fd

    def unregister(self, file: Any) -> None:
        """Stop watching a descriptor, or an object that has one; do nothing if it is not watched."""
        fd = _number_of(file)
        if fd in self._known:
            self._known.remove(fd)
            self._at_once.unregister(fd)
            self._waiting.unregister(fd)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return the events so far; if there are none, wait for at most ``timeout`` seconds (None: no limit).

        Other greenlets run meanwhile. Raises TimeoutError if there are no events in a process told to stop.
        """
        found = self._at_once.poll(0)
        if found or timeout == 0:
            gevent.sleep(0)  # lets other greenlets run even if the lanes are never empty
        else:
            found = LANE_WAITS.wait(self._waiting, timeout)
        return self._in_kombu_terms(found)

    def close(self) -> None:
        """Stop watching all descriptors."""
        for fd in tuple(self._known):
            self.unregister(fd)

    def _in_kombu_terms(self, found: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        translated = []
        for fd, flags in found:
            if flags & select.POLLNVAL:
                self.unregister(fd)
                continue
            events = sum(event for event, flag in _FLAGS.items() if flags & flag)
            translated.append((fd, events | (ERR if flags & (select.POLLERR | select.POLLHUP) else 0)))
        return translated


def _number_of(file: Any) -> int:
    return file if isinstance(file, int) else int(file.fileno())
