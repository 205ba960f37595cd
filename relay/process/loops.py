"""What has to go on: loops that no exception ends, and steps that are tried until they are done.

A part of a process works, or the process ends and is started again. "Not now" is waited for as long as it takes. A
fault of ours is said once and tried again too: it may be in what is brought, or be gone with the next try.
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

#: Between two tries.
RETRY_S: Final = 0.5
#: How often a step is tried in which something of ours is at fault.
STEP_FAULTS: Final = 6
#: After so many faults in a row a loop cannot go on.
LOOP_FAULTS: Final = 120
_NO_ANSWER: Final = (Unavailable, StoreFault)
#: The exit status of a process in which a loop cannot go on.
BROKEN: Final = 72


class Over(Exception):
    """An iteration raises it when there is nothing more to do for its loop."""


class Loop:
    """Calls ``iterate`` again and again, in a greenlet or thread of its own. ``pause`` sleeps there.

    An iteration that fails is followed by the next one, after a moment. To kill the greenlet ends its loop; anything
    else that is no `Exception` ends the process, as `LOOP_FAULTS` do.
    """

    def __init__(self, name: str, iterate: Callable[[], object], pause: Callable[[float], object]) -> None:
        self._name = name
        self._iterate = iterate
        self._pause = pause
        self._failures = Failures(name)

    def run(self) -> None:
        """Iterate until killed, or `Over`."""
        while True:
            try:
                self._iterate()
            except Over:
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, what comes next must not wait for good
                self._failures.note(error)
                if self._failures.faults >= LOOP_FAULTS:
                    give_up(error, self._name)
                self._pause(RETRY_S)
            except BaseException as error:
                if type(error).__name__ == "GreenletExit":
                    raise
                give_up(error, self._name)
            else:
                self._failures.over()


class Failures:
    """Failures of one thing in a row: each kind is said once, until it is over."""

    def __init__(self, doing: str, **fields: Any) -> None:
        self._doing = doing
        self._fields = fields
        self._away = False
        self.faults = 0

    def note(self, error: Exception) -> bool:
        """Note a failure; return whether something of ours is at fault."""
        if isinstance(error, Unavailable):
            if not self._away:
                fields = {"doing": self._doing, **self._fields}
                log.event(log.Event.STORE_AWAY, level=logging.WARNING, **fields)
            self._away = True
            return False
        self.faults += 1
        if self.faults == 1:
            log.fault(error, self._doing)
        return True

    def over(self) -> None:
        """Note that it went well."""
        self._away, self.faults = False, 0


def surely(
    step: Callable[[], R], doing: str, pause: Callable[[float], object], *, until_s: float = float("inf"), **fields: Any
) -> R:
    """Do a step that is safe to repeat: while the store is away until ``until_s`` (`boot_time_s`), else a few times.

    Raises what the last try has raised, and any other error of the relay's at once: it is an answer.
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
    """End the process at once: a part of it cannot go on. Whoever runs it starts it again."""
    log.fault(error, where)
    os._exit(BROKEN)
