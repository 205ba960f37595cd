"""How long a group is collected after one of several: while more arrives, and at most for a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: A few milliseconds make a few large groups of a burst; a lone call is never made to wait.
WINDOW_S: Final = 0.004
#: How often within the window it is looked whether anything has arrived.
LOOKS: Final = 4


def collect(count: Callable[[], int], most: int, pause: Callable[[float], object], window_s: float = WINDOW_S) -> None:
    """Pause while ``count()`` grows and is below ``most``, at most for ``window_s``."""
    seen = 0
    for _ in range(LOOKS):
        if not seen < count() < most:
            return
        seen = count()
        pause(window_s / LOOKS)
