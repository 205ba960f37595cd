"""Decides how much of a limited resource one webhook may hold, so that something is always left for the others."""

from __future__ import annotations

from typing import Final

#: A webhook may hold this many times as much as is free: alone it gets four fifths, and some always remains.
SHARE: Final = 4
#: However little is free, a webhook may hold this many.
ALWAYS: Final = 8


def capacity_left(held: int, free: int) -> int:
    """Return how many more a webhook that holds ``held`` may take, one after the other, if ``free`` are free."""
    return max(0, min(free, max(ALWAYS - held, (SHARE * (free + 1) - held) // (SHARE + 1))))


def may_hold_more(held: int, free: int) -> bool:
    """Return whether a webhook that holds ``held`` may take one more if ``free`` are free."""
    return held < max(ALWAYS, SHARE * free)
