"""Keeps children running: restarts any that died, and ends all of them together.

A dead child is started again only when everything that it left running is gone: Granian's worker, for one,
outlives a killed master and would keep answering on the same port.
"""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass, field
from subprocess import SubprocessError
from typing import TYPE_CHECKING, Final, Self

from relay.up.child import adopt_orphans

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from relay.up.child import Child

_TICK_S: Final = 0.25
_FIRST_DELAY_S: Final = 0.1
_MAX_DELAY_S: Final = 15.0
#: A child that lived this many seconds is restarted without the delay that earlier deaths had built up.
_STEADY_S: Final = 5.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class _Watched:
    child: Child
    ends_last: bool
    deaths: int = 0  # in a row, each soon after its start
    restart_at_s: float | None = None

    def look(self, tell: Callable[[str], None], note: Callable[[str, int | None], None]) -> None:
        """Look at the child once: note its death and the time of its restart, or restart it if that has come."""
        now_s = time.monotonic()
        if self.child.is_running():
            return
        if self.restart_at_s is None:
            self.child.kill()
            note(self.child.name, self.child.status)
            self.deaths = 0 if now_s - self.child.started_s >= _STEADY_S else self.deaths + 1
            delay_s = min(_FIRST_DELAY_S * 2 ** min(self.deaths, 16), _MAX_DELAY_S)
            self.restart_at_s = now_s + delay_s
            tell(f"{self.child.name} ended unexpectedly; starting it again (log: {self.child.log.name})")
        elif now_s >= self.restart_at_s and self.child.is_gone():
            try:
                self.child.start()
            except (OSError, SubprocessError) as error:  # no memory for a process, say: the others go on
                tell(f"{self.child.name} cannot be started: {error}; trying again in {_MAX_DELAY_S:.0f} s")
                self.restart_at_s = now_s + _MAX_DELAY_S
            else:
                self.restart_at_s = None


@dataclass(slots=True)
class Supervisor:
    """Runs children, from the main thread of a process without other threads.

    ``tell`` gets a line for people, ``note`` the name and the exit status of a child that ended unexpectedly;
    ``stop_s`` is how long children may take to end before they are killed.
    """

    tell: Callable[[str], None]
    stop_s: float
    note: Callable[[str, int | None], None] = lambda _name, _status: None
    _watched: list[_Watched] = field(default_factory=list)
    _asked: int = 0  # how many signals asked to end
    _wake: tuple[int, int] = (-1, -1)
    _woken: select.poll = field(default_factory=select.poll)

    def __enter__(self) -> Self:
        adopt_orphans()
        self._wake = os.pipe()
        self._woken.register(self._wake[0], select.POLLIN)
        for end in self._wake:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # `nohup` has it ignored
                signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake the loop
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        signal.set_wakeup_fd(-1)
        for number in (*_SIGNALS, signal.SIGCHLD):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        for end in self._wake:
            os.close(end)

    def start(self, child: Child, *, ends_last: bool = False) -> None:
        """Start a child, and restart it whenever it dies; a child that the others use should have ``ends_last``."""
        child.start()
        self._watched.append(_Watched(child, ends_last))

    @property
    def ending(self) -> bool:
        """Whether a signal has asked to end."""
        return self._asked > 0

    def failing(self, deaths: int) -> list[Child]:
        """Return the children that died soon after their start, at least ``deaths`` times in a row."""
        return [each.child for each in self._watched if each.deaths >= deaths]

    def down(self) -> list[Child]:
        """Return the children that do not run, or died soon after their last start."""
        return [each.child for each in self._watched if each.deaths or not each.child.is_running()]

    def iterate(self, wait_s: float = _TICK_S) -> None:
        """Wait for a signal, at most ``wait_s``, and look at every child once."""
        due = [each.restart_at_s for each in self._watched if each.restart_at_s is not None]
        nearest_s = min((at_s - time.monotonic() for at_s in due), default=wait_s)
        self._sleep(max(0.01, min(wait_s, nearest_s)))
        if not self.ending:
            for each in self._watched:
                each.look(self.tell, self.note)
                each.child.keep_log_small()

    def stop(self) -> None:
        """End the children: all together first, except those with ``ends_last``, which end afterwards."""
        for last in (False, True):
            self._end([each.child for each in self._watched if each.ends_last is last])
        self._watched.clear()

    def _end(self, children: list[Child]) -> None:
        asked = self._asked
        deadline_s = time.monotonic() + self.stop_s
        for child in children:
            child.ask_to_stop()
        while any(child.is_running() for child in children):
            if time.monotonic() > deadline_s or self._asked > max(asked, 1):
                break
            self._sleep(0.05)
        for child in children:
            child.kill()
        while not all(child.is_gone() for child in children):
            self._sleep(0.02)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._asked += 1

    def _sleep(self, wait_s: float) -> None:
        if self._woken.poll(wait_s * 1_000):
            os.read(self._wake[0], 4096)
