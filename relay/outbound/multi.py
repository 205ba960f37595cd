"""Drives a libcurl multi handle from a gevent hub, whose loop watches its sockets and its timer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pycurl
from gevent import getcurrent

from relay.outbound.decoding import Decoding
from relay.outbound.lookups import Lookups
from relay.outbound.openings import Openings
from relay.outbound.sockets import Sockets
from relay.process import loops
from relay.process.loops import Failures, give_up
from relay.telemetry import log

if TYPE_CHECKING:
    from gevent.hub import Hub

_READ: Final = 1  # libev's event bits
_WRITE: Final = 2
_EVENTS: Final = {pycurl.POLL_IN: _READ, pycurl.POLL_OUT: _WRITE, pycurl.POLL_INOUT: _READ | _WRITE}
_SELECTS: Final = {
    _READ: pycurl.CSELECT_IN,
    _WRITE: pycurl.CSELECT_OUT,
    _READ | _WRITE: pycurl.CSELECT_IN | pycurl.CSELECT_OUT,
}
# libcurl counts whole milliseconds: a timer that fires a moment early finds nothing to do and is not set again.
_LATER_S: Final = 0.001


class _Wait:
    """A greenlet that waits for its transfer; ``code`` is libcurl's error number once it has ended."""

    __slots__ = ("code", "greenlet")

    def __init__(self, greenlet: Any) -> None:
        self.greenlet = greenlet
        self.code: int | None = None


class HubMulti:
    """Runs easy handles for the greenlets of one hub. Other threads must not use it."""

    def __init__(self, hub: Hub, *, max_connections: int) -> None:
        self.lookups = Lookups()  # of the names in this handle's cache
        self.openings = Openings()
        self.decoding = Decoding()
        self.sockets = Sockets()
        self._hub = hub
        self._loop = hub.loop
        self._waits: dict[pycurl.Curl, _Wait] = {}
        self._watchers: dict[int, Any] = {}  # kept when a socket is closed, since its number will be used again
        self._timer: Any = None
        self._failures = Failures("transfers")
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_connections)
        self._multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, max_connections)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)

    def perform(self, easy: pycurl.Curl) -> int:
        """Run a transfer while other greenlets run; return libcurl's error number, 0 on success.

        If the greenlet is killed while it waits, its transfer ends too.
        """
        wait = _Wait(getcurrent())
        self._multi.add_handle(easy)
        self._waits[easy] = wait
        try:
            while wait.code is None:
                self._hub.switch()
        finally:
            wait.greenlet = None
            if self._waits.pop(easy, None) is not None:
                self._multi.remove_handle(easy)
        return wait.code

    def close(self) -> None:
        """Close every kept connection. Call it only when nothing is running."""
        for watcher in (*self._watchers.values(), self._timer):
            if watcher is not None:
                watcher.stop()
        self._multi.close()

    # libcurl's callbacks, which must not call libcurl. If one fails, libcurl counts on what is not watched, for good.

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        try:
            watcher = self._watchers.get(fd)
            if watcher is not None:
                watcher.stop()
            if what == pycurl.POLL_REMOVE:
                return
            events = _EVENTS[what]
            if watcher is None:
                watcher = self._watchers[fd] = self._loop.io(fd, events)
            else:
                watcher.events = events  # even if unchanged: it tells libev that the number may be a new socket
            watcher.start(self._on_ready, fd, pass_events=True)
        except Exception as error:  # noqa: BLE001
            give_up(error, "transfers")

    def _on_timer(self, timeout_ms: int) -> None:
        try:
            if self._timer is not None:
                self._timer.stop()
                self._timer = None
            if timeout_ms >= 0:
                # Not `run_callback` for "at once": it would fire again and again before any other socket gets its turn.
                self._timer = self._loop.timer(timeout_ms / 1000 + _LATER_S if timeout_ms else 0)
                self._timer.start(self._on_timeout)
        except Exception as error:  # noqa: BLE001
            give_up(error, "transfers")

    # Callbacks of the event loop.

    def _on_timeout(self) -> None:
        self._timer = None
        try:
            self._act(pycurl.SOCKET_TIMEOUT, 0)
            timeout_ms = self._multi.timeout() if self._timer is None and self._waits else None
        except Exception as error:  # noqa: BLE001
            if self._failures.faults >= loops.LOOP_FAULTS:
                give_up(error, "transfers")
            self._retry(error)
            return
        if self._failures.faults:
            self._failures.succeeded()
        if timeout_ms is not None:
            self._on_timer(timeout_ms)  # libcurl does not set the same timeout twice

    def _on_ready(self, events: int, fd: int) -> None:
        try:
            self._act(fd, _SELECTS.get(events, 0))
        except Exception as error:  # noqa: BLE001
            self._retry(error)

    def _retry(self, error: Exception) -> None:
        """Look again soon: libcurl may have ended transfers, and sets no timer for these any more."""
        self._failures.note(error)
        self._on_timer(int(loops.RETRY_S * 1000))

    def _act(self, fd: int, select: int) -> None:
        _, running = self._multi.socket_action(fd, select)
        if running < len(self._waits):
            self._reap()

    def _reap(self) -> None:
        ended: list[_Wait] = []
        more = 1
        while more:
            more, good, bad = self._multi.info_read()
            ended += [self._end(easy, pycurl.E_OK) for easy in good]
            ended += [self._end(easy, code) for easy, code, _ in bad]
        for wait in ended:
            if wait.greenlet is not None:  # a greenlet that woke before it may have killed it
                try:
                    wait.greenlet.switch()
                except Exception as error:  # noqa: BLE001 - it has died of this; the others still have to wake
                    log.fault(error, "transfers")

    def _end(self, easy: pycurl.Curl, code: int) -> _Wait:
        wait = self._waits.pop(easy)
        self._multi.remove_handle(easy)
        wait.code = code
        return wait
