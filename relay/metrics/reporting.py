"""Reports every second what a worker has gathered, the calls that it shows, and what scripts have noted."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from relay.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.metrics.gathering import Gathering
    from relay.metrics.shown_calls import ShownCall, ShownCalls
    from relay.store.counts.measures import Measures

PERIOD_S: Final = 1.0


class Reporter:
    """Makes the reports of one worker process."""

    def __init__(self, gathering: Gathering, measures: Measures, shown: ShownCalls) -> None:
        self._gathering = gathering
        self._measures = measures
        self._shown = shown

    def report(self, show: Callable[[Sequence[ShownCall]], object]) -> None:
        """Report once; ``show`` gets the calls to show. While the store is away, durations wait for the next report."""
        calls = self._shown.take(PERIOD_S)
        if calls:
            show(calls)
        self._gathering.add_to_store()
        with suppress(Unavailable):
            self._measures.count_everything()
