"""Loops that survive exceptions, and steps that are repeated until they succeed.

Either every part of a process works, or the process ends and is restarted. "Not now" is retried as long as it takes. A
fault of our own is logged once and retried too: its cause may be in the input, or be gone at the next try.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final, TypeVar

from relay.errors import RelayError, StoreFault, Unavailable
from relay.process.clock import boot_time_s
from relay.telemetry import log

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")

#: The pause between two tries, in seconds.
RETRY_S: Final = 0.5
#: How many times a step is tried that fails by a fault of our own.
STEP_FAULTS: Final = 6
#: After this many faults in a row a loop cannot go on.
LOOP_FAULTS: Final = 120
_NO_ANSWER: Final = (Unavailable, StoreFault)
#: The exit status of a process in which a loop cannot go on.
BROKEN: Final = 72


class Over(Exception):
    """Raised by an iteration to end its loop: there is nothing more to do."""


class Loop:
    """Calls ``iterate`` again and again, in its own greenlet or thread, where ``pause`` sleeps.

    After a failed iteration the next one follows after a pause. Killing the greenlet ends its loop. Any other exception
    that is not an `Exception` ends the process, and so do `LOOP_FAULTS` in a row.
    """

    def __init__(self, name: str, iterate: Callable[[], object], pause: Callable[[float], object]) -> None:
        self._name = name
        self._iterate = iterate
        self._pause = pause
        self._failures = Failures(name)

    def run(self) -> None:
        """Iterate until the greenlet is killed, or an iteration raises `Over`."""
        while True:
            try:
                self._iterate()
            except Over:
                return
            except Exception as error:  # noqa: BLE001 - no error may stop the iterations that follow
                self._failures.note(error)
                if self._failures.faults >= LOOP_FAULTS:
                    give_up(error, self._name)
                self._pause(RETRY_S)
            except BaseException as error:
                if type(error).__name__ == "GreenletExit":
                    raise
                give_up(error, self._name)
            else:
                self._failures.succeeded()


class Failures:
    """Successive failures of one activity; each kind is logged once, until the activity succeeds."""

    def __init__(self, doing: str, **fields: Any) -> None:
        self._doing = doing
        self._fields = fields
        self._away = False
        self.faults = 0

    def note(self, error: Exception) -> bool:
        """Note a failure, and log the first of its kind; return whether it is a fault of our own."""
        if isinstance(error, Unavailable):
            if not self._away:
                why = {} if error.message == Unavailable.sentence else {"why": error.message}
                fields = {"doing": self._doing, **why, **self._fields}
                log.event(log.Event.STORE_AWAY, level=logging.WARNING, **fields)
            self._away = True
            return False
        self.faults += 1
        if self.faults == 1:
            log.fault(error, self._doing)
        return True

    def succeeded(self) -> None:
        """Note a success."""
        self._away, self.faults = False, 0


def repeat_until_done(
    step: Callable[[], R], doing: str, pause: Callable[[float], object], *, until_s: float = float("inf"), **fields: Any
) -> R:
    """Run a step that is safe to repeat, until it succeeds; return its result.

    While the store is away it is tried until ``until_s`` (`boot_time_s`); after faults of our own, a few times. Then
    the last error is raised. Other errors of the relay are answers, and raised at once.
    """
    failures = Failures(doing, **fields)
    while True:
        try:
            return step()
        except Exception as error:
            if isinstance(error, RelayError) and not isinstance(error, _NO_ANSWER):
                raise
            failures.note(error)
            if failures.faults >= STEP_FAULTS or boot_time_s() >= until_s:
                raise
        pause(RETRY_S)


def give_up(error: BaseException, where: str) -> None:
    """End the process at once, because a part of it cannot go on; its supervisor starts it again."""
    log.fault(error, where)
    os._exit(BROKEN)
