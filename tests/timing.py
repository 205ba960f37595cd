"""Bounds of time that hold on a machine that others keep busy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: What a busy machine may add to anything. What a test tells apart by the clock differs by far more.
BUSY_S = 10.0
_TRIES = 10


def promptest_s(act: Callable[[], object], *, within_s: float) -> float:
    """How long ``act`` takes at its best: a promise of precision is about the code, not about who else runs.

    It is done again, a few times, until it took no longer than ``within_s``.
    """
    best_s = float("inf")
    for _ in range(_TRIES):
        began_s = time.monotonic()
        act()
        best_s = min(best_s, time.monotonic() - began_s)
        if best_s <= within_s:
            break
    return best_s
