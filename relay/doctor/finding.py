"""A check's finding, and how much it matters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The beginning of the advice if the store has something that no relay writes.
FOREIGN_WRITER: Final = "Somebody other than the relay writes to the server"
_SHOWN: Final = 10
#: The shares of a limit from which on a finding is a note, and from which on it is a problem.
SHARES: Final = (0.8, 0.95)


class Level(StrEnum):
    """How much a finding matters; only a problem makes the command fail."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, what was found and, unless all is well, what to do."""

    check: str
    level: Level
    found: str
    advice: str = ""


def judged(check: str, good: bool, found: str, advice: str, otherwise: Level = Level.PROBLEM) -> Finding:
    """Return a finding: OK if ``good``, otherwise a problem (or a note) with the advice."""
    return Finding(check, Level.OK, found) if good else Finding(check, otherwise, found, advice)


def graded(check: str, value: float, limits: tuple[float, float], found: str, advice: str) -> Finding:
    """Return a finding: OK below the first of two limits, a note from there on, a problem from the second on."""
    level = (Level.OK, Level.NOTE, Level.PROBLEM)[sum(value >= limit for limit in limits)]
    return Finding(check, level, found, "" if level is Level.OK else advice)


def listed(names: Sequence[str]) -> str:
    """Return the first ten names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
