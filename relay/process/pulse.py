"""Watches whether the parts of a process make progress: looks at them once a second, and counts looks, not seconds.

So a process that was frozen for an hour, in which there were no looks, gets the time to continue.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: The time between two looks, in seconds.
LOOK_S: Final = 1.0
#: After this many looks without progress of a part, its process no longer reports that it is alive.
STILL_LOOKS: Final = 8
#: After this many looks without progress a part is stuck for good, and its process has to end.
STUCK_LOOKS: Final = 60


def _never() -> bool:
    return False


@dataclass(slots=True)
class Part:
    """A part that has to make progress: ``moves`` returns how often it has, or None while it has nothing to do.

    While ``excused`` returns true, the part counts as neither still nor stuck.
    """

    name: str
    moves: Callable[[], int | None]
    still_looks: int = STILL_LOOKS
    stuck_looks: int = STUCK_LOOKS
    excused: Callable[[], bool] = field(default=_never)
    _seen: int | None = None
    _missed: int = 0

    def look(self) -> None:
        """Compare the part's progress with that at the last look, and count successive looks without progress."""
        moves = self.moves()
        self._missed = 0 if moves is None or moves != self._seen else self._missed + 1
        self._seen = moves

    def has_missed(self, looks: int) -> bool:
        """Return whether the part, without an excuse, has made no progress for so many looks."""
        return self._missed >= looks and not self.excused()


class Pulse:
    """The watched parts of one process."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = tuple(parts)

    def look(self) -> None:
        """Look at every part once."""
        for part in self._parts:
            part.look()

    @property
    def still(self) -> list[str]:
        """The names of the parts that are still: the process is not doing its work."""
        return [part.name for part in self._parts if part.has_missed(part.still_looks)]

    @property
    def stuck(self) -> list[str]:
        """The names of the parts that are stuck for good."""
        return [part.name for part in self._parts if part.has_missed(part.stuck_looks)]
