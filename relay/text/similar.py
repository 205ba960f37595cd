"""Finds the known name that a mistyped one probably stands for. Pure."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LIKENESS: Final = 0.6  # difflib's ratio from which names are alike; 1 means equal
#: Shorter names differ by one letter because they are meant to (`zeta`, `beta`).
_SHORTEST: Final = 8
_KEYS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # rows of a keyboard, each half a key to the right
_NUMBERS: Final = re.compile(r"[0-9]+|(?<=[-_])[a-z]\Z")  # a last letter counts as a number: `site-a`, `site-b`
_SEPARATORS: Final = str.maketrans("", "", "_- ")


def nearest(name: str, known: Iterable[str], *, likeness: float = LIKENESS) -> str | None:
    """Return the known name that is most like ``name``; None if none is like it. Case and separators do not count."""
    folded = {_folded(each): each for each in sorted(known, reverse=True)}
    found = get_close_matches(_folded(name), folded, n=1, cutoff=likeness)
    return folded[found[0]] if found else None


def hint(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean `x`?`` to append to a sentence; empty if no known name is like ``name``."""
    found = nearest(name, known)
    return "" if found is None else f"; did you mean `{found}`?"


def slip_of(name: str, known: Iterable[str]) -> str | None:
    """Return the known name of which ``name`` is very likely a misspelling; None if there is none.

    Both have eight letters or more, and differ by two letters that are swapped, by one that is missing or doubled, or
    by one that is next to the right one on a keyboard. Names that differ in a number (``clinic-1``, ``clinic-2``) are a
    series.
    """
    others = (each for each in sorted(known) if min(len(name), len(each)) >= _SHORTEST and not _is_series(name, each))
    return next((each for each in others if _is_slip(name, each)), None)


def _folded(name: str) -> str:
    return name.lower().translate(_SEPARATORS)


def _is_slip(one: str, other: str) -> bool:
    same = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    place = min(len(one), len(other)) if same is None else same
    if len(one) != len(other):
        shorter, longer = sorted((one, other), key=len)
        return not longer[place].isdecimal() and longer[:place] + longer[place + 1 :] == shorter
    if same is None:
        return False
    if one[place + 1 :] == other[place + 1 :]:
        return other[place] in _NEIGHBOURS.get(one[place], "")
    return one[place : place + 2] == other[place : place + 2][::-1] and one[place + 2 :] == other[place + 2 :]


def _neighbours() -> dict[str, str]:
    """Return for each letter those next to it on a keyboard."""
    found: dict[str, str] = {}
    for above, row, below in zip(("", *_KEYS), _KEYS, (*_KEYS[1:], ""), strict=False):
        for place, letter in enumerate(row):
            beside = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            found[letter] = beside + above[place : place + 2] + below[max(0, place - 1) : place + 1]
    return found


_NEIGHBOURS: Final = _neighbours()


def _is_series(one: str, other: str) -> bool:
    both_numbered = bool(_NUMBERS.search(one) and _NUMBERS.search(other))
    return both_numbered and _NUMBERS.sub("#", one) == _NUMBERS.sub("#", other)
