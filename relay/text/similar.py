"""Finds the known name that a mistyped one probably stands for. Pure."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LIKENESS: Final = 0.6  # difflib's ratio from which names are alike; 1 means equal
_ALIKE: Final = 0.75  # the ratio from which one name is very likely a misspelling of the other
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
    """Return the known name of which ``name`` looks like a misspelling.

    Names with the same letters and different numbers (``clinic-1``, ``clinic-2``) are a series, not misspellings.
    """
    others = [each for each in known if each != name and not _is_series(name, each)]
    return nearest(name, others, likeness=_ALIKE)


def _folded(name: str) -> str:
    return name.lower().translate(_SEPARATORS)


def _is_series(one: str, other: str) -> bool:
    both_numbered = bool(_NUMBERS.search(one) and _NUMBERS.search(other))
    return both_numbered and _NUMBERS.sub("#", one) == _NUMBERS.sub("#", other)
