"""Whether the parts of a process move: looked at once a second, and counted in looks, not in seconds.

A process that was frozen for an hour has been looked at no more often meanwhile, so that it is given the time to go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Between two looks.
LOOK_S: Final = 1.0
#: A part that has not moved for so many looks keeps its process from saying that it lives.
STILL_LOOKS: Final = 8
#: One that has not moved for so many will not move again: its process has to end.
STUCK_LOOKS: Final = 60


def _never() -> bool:
    return False


@dataclass(slots=True)
class Part:
    """Something that has to move: ``moves`` tells how often it has, None while it has nothing to do.

    While ``excused`` it is not called stuck.
    """

    name: str
    moves: Callable[[], int | None]
    still_looks: int = STILL_LOOKS
    stuck_looks: int = STUCK_LOOKS
    excused: Callable[[], bool] = field(default=_never)
    _seen: int | None = None
    _missed: int = 0

    def look(self) -> None:
        """Compare the part's progress with that of the last look, and count looks without any."""
        moves = self.moves()
        self._missed = 0 if moves is None or moves != self._seen else self._missed + 1
        self._seen = moves

    @property
    def is_still(self) -> bool:
        """Whether the part has made no progress for as many looks as it may take at most."""
        return self._missed >= self.still_looks

    @property
    def is_stuck(self) -> bool:
        """Whether the part has stood still for so long, without an excuse, that the process has to end."""
        return self._missed >= self.stuck_looks and not self.excused()


class Pulse:
    """The parts of one process, looked at together."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = tuple(parts)
        self.looks = 0

    def look(self) -> None:
        """Look at every part once."""
        self.looks += 1
        for part in self._parts:
            part.look()

    @property
    def still(self) -> list[str]:
        """The parts that do not move now: the process does not do what it is for."""
        return [part.name for part in self._parts if part.is_still]

    @property
    def stuck(self) -> list[str]:
        """The parts that will not move again."""
        return [part.name for part in self._parts if part.is_stuck]
