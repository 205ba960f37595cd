"""Runs one look-up of a name at a time, so that a name whose servers hang does not hold up other names.

libcurl has twenty resolver threads, uses two for a transfer and does not share a look-up under way: ten calls to
one hanging name would stop every other name from being resolved (measured). So one call leads the look-up, and the
other calls to the same origin wait until the name is in libcurl's cache. If it does not resolve, all of them fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import gevent
from gevent.event import Event

from relay.domain.invocation import Outcome
from relay.process.clock import boot_time_s

CACHE_S: Final = 60  # how long libcurl may answer from its cache
FRESH_CACHE_S: Final = 1  # the same for a call that leads, so that it looks the name up again
_KNOWN_S: Final = 45  # less than CACHE_S, so that libcurl's cache still has the name
_REUSED_S: Final = 1  # for this long after a leader that needed no look-up, others will hardly need one
_HOLD_S: Final = 5  # from the start of a look-up that hung to the next one: the system's resolver may still be busy
_MAX_KNOWN: Final = 4_096


@dataclass(slots=True, eq=False)
class Lookup:
    """A look-up that one call leads; libcurl's callbacks note how it went."""

    lookups: Lookups
    origin: str
    begun_s: float
    done: Event = field(default_factory=Event)
    failed: bool = False
    hung: bool = False

    def found(self) -> None:
        """Note that the name is resolved."""
        self.lookups.learn(self.origin, _KNOWN_S)
        self._finish()

    def not_needed(self) -> None:
        """Note that a kept connection was used, so that there was nothing to look up."""
        if not self.done.is_set():
            self.lookups.learn(self.origin, _REUSED_S)
            self._finish()

    def end(self, outcome: Outcome | None) -> None:
        """Note the outcome of the leader's transfer, None if it was killed."""
        if self.done.is_set():
            return
        self.failed = outcome is Outcome.DNS_FAILED
        self.hung = outcome in (Outcome.CONNECT_TIMEOUT, None)
        self._finish()

    def _finish(self) -> None:
        if not self.hung:
            self.lookups.forget(self.origin, self)
        self.done.set()


class Lookups:
    """The look-ups under way for one multi handle, and the origins whose names are in its cache."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}  # origin -> until when, on the clock of boot_time_s
        self._running: dict[str, Lookup] = {}

    def begin(self, origin: str, now_s: float, deadline_s: float) -> Lookup | Outcome | None:
        """Wait until a call to an origin may start; return None, or the look-up that this call leads.

        Returns an outcome if the call cannot start: its name does not resolve, or ``deadline_s`` passes first.
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
        """Forget a look-up that has ended."""
        if self._running.get(origin) is lookup:
            del self._running[origin]
