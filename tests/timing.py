"""Time limits that hold even on a machine that other work keeps busy."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from relay.process.clock import boot_time_s

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

#: The delay, in seconds, that a busy machine may add to anything. Durations that a test tells apart differ by far more.
BUSY_S = 10.0
#: How long, in seconds, a process may take to start on a busy machine.
START_S = 120.0
#: How long, in seconds, a healthy server may take to answer a test on a busy machine with a busy disk.
ANSWER_S = 60.0
_TRIES = 10
_OWN = ("api", "relay", "tests", "workers")


def wait_until(
    check: Callable[[], Any],
    within_s: float = START_S,
    *,
    otherwise: str | Callable[[], str] = "It has not come in time.",
    every_s: float = 0.02,
    sleep: Callable[[float], object] = time.sleep,
) -> Any:
    """Call ``check`` until its result is true, and return it; raises AssertionError(``otherwise``) if out of time.

    Where greenlets have to go on meanwhile, ``sleep`` is gevent's.
    """
    deadline_s = time.monotonic() + within_s
    while not (found := check()):
        if time.monotonic() > deadline_s:
            raise AssertionError(otherwise if isinstance(otherwise, str) else otherwise())
        sleep(every_s)
    return found


def stop_clock(patch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stop `relay.process.clock` for every module that reads it; return a function that moves it on by so many seconds.

    A clock that stands in one module and goes on in the next would let the test depend on how busy the machine is.
    """
    stopped_at_s = [boot_time_s()]
    loaded = [module for name, module in sys.modules.items() if name.split(".")[0] in _OWN]
    readers = [module for module in loaded if vars(module).get("boot_time_s") is boot_time_s]
    for module in readers:
        patch.setattr(module, "boot_time_s", lambda: stopped_at_s[0])

    def move_on(by_s: float) -> None:
        stopped_at_s[0] += by_s

    return move_on


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
