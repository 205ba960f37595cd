"""Waits while a group of items is being collected: as long as more arrive, but only for a few milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: The longest wait, in seconds. A few milliseconds turn a burst into a few large groups; a lone call never waits.
WINDOW_S: Final = 0.004
#: How many times within the window to check whether anything has arrived.
LOOKS: Final = 4


def collect(count: Callable[[], int], most: int, pause: Callable[[float], object], window_s: float = WINDOW_S) -> None:
    """Pause while ``count()`` grows and is below ``most``, at most for ``window_s``."""
    seen = 0
    for _ in range(LOOKS):
        if not seen < count() < most:
            return
        seen = count()
        pause(window_s / LOOKS)
