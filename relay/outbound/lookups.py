"""One look-up of a name at a time, so that a name whose servers hang costs its neighbours nothing.

libcurl has twenty resolver threads, uses two for a transfer and does not share a look-up under way: ten calls to
one hanging name would stop every other name from being resolved (measured). So one call leads, and the others to
the same origin wait until the name is in libcurl's cache. What fails to resolve fails for all that waited.
"""

from __future__ import annotations

from typing import Final

import gevent
from gevent.event import Event

from relay.invocation import Outcome
from relay.process.clock import boot_time_s

CACHE_S: Final = 60  # how long libcurl may answer from its cache
FRESH_CACHE_S: Final = 1  # and for a call that leads: it looks the name up again
_KNOWN_S: Final = 45  # less than CACHE_S, so that libcurl's cache still has the name
_REUSED_S: Final = 1  # the leader needed no look-up; for this long others hardly will
_HOLD_S: Final = 5  # after a look-up that hung: the system's resolver may still be at it
_MAX_KNOWN: Final = 4_096


class Lookup:
    """A look-up that one call leads; libcurl's callbacks note how it went."""

    __slots__ = ("_lookups", "_origin", "begun_s", "done", "failed", "hung")

    def __init__(self, lookups: Lookups, origin: str, begun_s: float) -> None:
        self._lookups = lookups
        self._origin = origin
        self.begun_s = begun_s
        self.done = Event()
        self.failed = False
        self.hung = False

    def found(self) -> None:
        """Note that the name is resolved."""
        self._lookups.learn(self._origin, _KNOWN_S)
        self._finish()

    def spared(self) -> None:
        """Note that a kept connection was used: there was nothing to look up."""
        if not self.done.is_set():
            self._lookups.learn(self._origin, _REUSED_S)
            self._finish()

    def end(self, outcome: Outcome | None) -> None:
        """Note that the leader's transfer is over (None: it was killed)."""
        if self.done.is_set():
            return
        self.failed = outcome is Outcome.DNS_FAILED
        self.hung = outcome in (Outcome.CONNECT_TIMEOUT, None)
        self._finish()

    def _finish(self) -> None:
        if not self.hung:
            self._lookups.forget(self._origin, self)
        self.done.set()


class Lookups:
    """What is being looked up for one multi handle, and what its cache knows."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}  # origin -> until when, on the clock of boot_time_s
        self._running: dict[str, Lookup] = {}

    def begin(self, origin: str, now_s: float, deadline_s: float) -> Lookup | Outcome | None:
        """Wait until a call to an origin may start; return None, or the look-up that this call leads.

        Returns an outcome where the call cannot start: its name does not resolve, or ``deadline_s`` passes before.
        """
        while now_s < deadline_s:
            if self._known.get(origin, 0) > now_s:
                return None
            running = self._running.get(origin)
            if running is None or (running.hung and now_s >= running.begun_s + _HOLD_S):
                lookup = self._running[origin] = Lookup(self, origin, now_s)
                return lookup
            if running.hung:
                gevent.sleep(min(deadline_s, running.begun_s + _HOLD_S) - now_s)
            else:
                running.done.wait(deadline_s - now_s)
            if running.failed:
                return Outcome.DNS_FAILED
            now_s = boot_time_s()
        return Outcome.CONNECT_TIMEOUT

    def learn(self, origin: str, for_s: float) -> None:
        """Note that the cache will have this origin's addresses for a while."""
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[origin] = boot_time_s() + for_s

    def forget(self, origin: str, lookup: Lookup) -> None:
        """Forget a look-up that came to its end."""
        if self._running.get(origin) is lookup:
            del self._running[origin]
