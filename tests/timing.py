"""Bounds of time that hold on a machine that others keep busy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: What a busy machine may add to anything. What a test tells apart by the clock differs by far more.
BUSY_S = 10.0
#: How long a process may take to start there.
START_S = 120.0
_TRIES = 10


def wait_until(
    check: Callable[[], Any],
    within_s: float = START_S,
    *,
    otherwise: str | Callable[[], str] = "It has not come in time.",
    every_s: float = 0.02,
) -> Any:
    """What ``check`` returns as soon as that is true; AssertionError where it is not in time, with what to say then."""
    deadline_s = time.monotonic() + within_s
    while not (found := check()):
        if time.monotonic() > deadline_s:
            raise AssertionError(otherwise if isinstance(otherwise, str) else otherwise())
        time.sleep(every_s)
    return found


def least(measure: Callable[[], float], *, wanted: float, tries: int = 3) -> float:
    """What ``measure`` finds at its best: a promise of precision is about the code, not about who else runs.

    It is done again, a few times, until it found no more than ``wanted``.
    """
    best = measure()
    for _ in range(tries - 1):
        if best <= wanted:
            break
        best = min(best, measure())
    return best


def promptest_s(act: Callable[[], object], *, within_s: float) -> float:
    """How long ``act`` takes at its best, of ten tries at the most."""

    def took_s() -> float:
        began_s = time.monotonic()
        act()
        return time.monotonic() - began_s

    return least(took_s, wanted=within_s, tries=_TRIES)
