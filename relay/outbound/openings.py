"""Decides whether a call over TLS opens a connection of its own, or waits for one that is about to be free.

A handshake costs as much as several calls. If all calls that arrive at once opened connections, the handshakes would
delay one another, and a second later most of the connections would be too old to be reused. So once an origin has a few
calls, each further call waits for as long as a handshake takes there. Then about as many more connections as are in use
may be opened.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gevent.event import Event

from relay.domain.invocation import Outcome
from relay.process.clock import boot_time_s

#: How many calls of one origin may be under way without waiting; each later increase allows as many more.
FREE_CONNECTIONS: Final = 32
IDLE_S: Final = 1.0  # a connection that is idle for longer does not count as free: not every call may use it
MAX_PATIENCE_S: Final = 1.0  # the longest that a call waits for a free connection
_WEIGHT: Final = 0.2  # of the newest handshake in the moving mean
_MAX_ORIGINS: Final = 4_096


class Opening:
    """A call that may open a connection. Its caller must call `end`, however the call goes."""

    __slots__ = ("_began_s", "_local_end", "_origin")

    def __init__(self, origin: _Origin) -> None:
        self._origin = origin
        self._began_s = boot_time_s()
        self._local_end: tuple[str, int] | None = None

    def connected(self, local_end: tuple[str, int], *, is_new: bool) -> None:
        """Note that the call has a connection, with this local end."""
        origin = self._origin
        origin.starting -= 1
        is_taken_over = local_end in origin.busy  # libcurl reuses it before the call that had it reaches `end`
        origin.busy[local_end] = self
        origin.idle.pop(local_end, None)
        self._local_end = local_end
        if is_taken_over:
            origin.look()
        if is_new:
            origin.learn(boot_time_s() - self._began_s)

    def end(self, *, is_kept: bool) -> None:
        """Note that the call is over, and whether its connection is kept."""
        origin = self._origin
        if self._local_end is None:
            origin.starting -= 1
        elif origin.busy.get(self._local_end) is self:
            del origin.busy[self._local_end]
            if is_kept:
                origin.idle[self._local_end] = boot_time_s()
        origin.look()


class Openings:
    """The calls over TLS of one multi handle, by origin."""

    def __init__(self) -> None:
        self._origins: dict[str, _Origin] = {}

    def begin(self, name: str, deadline_s: float, *, waits: bool) -> Opening | Outcome | None:
        """Wait until a call of this origin may start (not at all without ``waits``); return its opening.

        Returns None for plain http, which has no handshake, and an outcome if ``deadline_s`` passes first.
        """
        if not name.startswith("https:"):
            return None
        origin = self._origins.get(name)
        if origin is None:
            if len(self._origins) >= _MAX_ORIGINS:
                self._origins = {each: found for each, found in self._origins.items() if found.in_use}
            origin = self._origins[name] = _Origin()
        if waits and not origin.wait(deadline_s):
            return Outcome.CONNECT_TIMEOUT
        if not waits:
            origin.starting += 1
        return Opening(origin)


class _Waiter:
    """A call that waits until it may start."""

    __slots__ = ("began_s", "look", "may_start")

    def __init__(self) -> None:
        self.began_s = boot_time_s()
        self.may_start = False
        self.look = Event()


class _Origin:
    """The calls and the idle connections of one origin."""

    def __init__(self) -> None:
        self.starting = 0  # calls that have no connection yet
        self.busy: dict[tuple[str, int], Opening] = {}  # calls that have a connection, by its local end
        self.idle: dict[tuple[str, int], float] = {}  # since when, by local end; the longest idle first
        self._waiting: deque[_Waiter] = deque()
        self._handshake_s: float | None = None
        self._grown_s = 0.0  # when calls that had waited long enough were last allowed to start

    @property
    def in_use(self) -> bool:
        """Whether a call of this origin starts, runs or waits."""
        return bool(self.starting or self.busy or self._waiting)

    def wait(self, deadline_s: float) -> bool:
        """Wait until a call may start, and count it as starting; return False if its deadline passes first."""
        waiter = _Waiter()
        self._waiting.append(waiter)
        try:
            self.look()
            while not waiter.may_start and (now_s := boot_time_s()) < deadline_s:
                until_s = min(deadline_s, self._due_s()) if self._waiting[0] is waiter else deadline_s
                waiter.look.clear()
                waiter.look.wait(max(0.001, until_s - now_s))
                self.look()
        except BaseException:
            if waiter.may_start:  # it was allowed to start just as it was killed
                self.starting -= 1
                self.look()
            raise
        finally:
            if not waiter.may_start:
                self._waiting.remove(waiter)
                self._wake_first()
        return waiter.may_start

    def look(self) -> None:
        """Start the waiting calls that may start now, longest wait first."""
        if not self._waiting:
            return
        now_s = boot_time_s()
        spare = self._free(now_s) - self.starting
        room = max(spare, FREE_CONNECTIONS - len(self.busy) - self.starting)
        if room <= 0 and now_s >= self._due_s():
            room, self._grown_s = spare + FREE_CONNECTIONS + len(self.busy), now_s
        admitted = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        self.starting += len(admitted)
        for waiter in admitted:
            waiter.may_start = True
            waiter.look.set()
        if admitted:
            self._wake_first()

    def learn(self, handshake_s: float) -> None:
        """Note how long a handshake took."""
        mean_s = handshake_s if self._handshake_s is None else self._handshake_s
        self._handshake_s = mean_s + _WEIGHT * (handshake_s - mean_s)
        self.look()
        self._wake_first()

    def _due_s(self) -> float:
        """Return when the longest-waiting call may start even without a free connection."""
        patience_s = MAX_PATIENCE_S if self._handshake_s is None else min(self._handshake_s, MAX_PATIENCE_S)
        return max(self._waiting[0].began_s, self._grown_s) + patience_s

    def _free(self, now_s: float) -> int:
        while self.idle and now_s - next(iter(self.idle.values())) >= IDLE_S:
            del self.idle[next(iter(self.idle))]
        return len(self.idle)

    def _wake_first(self) -> None:
        """Wake the longest-waiting call, which alone watches the clock for all of them."""
        if self._waiting:
            self._waiting[0].look.set()
