"""Time limits that hold even on a machine that other work keeps busy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: The delay, in seconds, that a busy machine may add to anything. Durations that a test tells apart differ by far more.
BUSY_S = 10.0
#: How long, in seconds, a process may take to start on a busy machine.
START_S = 120.0
_TRIES = 10


def wait_until(
    check: Callable[[], Any],
    within_s: float = START_S,
    *,
    otherwise: str | Callable[[], str] = "It has not come in time.",
    every_s: float = 0.02,
) -> Any:
    """Call ``check`` until its result is true, and return it; raises AssertionError(``otherwise``) if out of time."""
    deadline_s = time.monotonic() + within_s
    while not (found := check()):
        if time.monotonic() > deadline_s:
            raise AssertionError(otherwise if isinstance(otherwise, str) else otherwise())
        time.sleep(every_s)
    return found


def least(measure: Callable[[], float], *, wanted: float, tries: int = 3) -> float:
    """Return the least result of ``measure``: a promise of precision is about the code, not the load of the machine.

    Measures up to ``tries`` times, and stops at a result of at most ``wanted``.
    """
    best = measure()
    for _ in range(tries - 1):
        if best <= wanted:
            break
        best = min(best, measure())
    return best


def promptest_s(act: Callable[[], object], *, within_s: float) -> float:
    """Return the shortest duration of ``act``, in seconds, of up to ten tries; stops at one within ``within_s``."""

    def took_s() -> float:
        began_s = time.monotonic()
        act()
        return time.monotonic() - began_s

    return least(took_s, wanted=within_s, tries=_TRIES)
