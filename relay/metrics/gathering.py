"""Gathers the histograms that a worker measures by itself, and reports them every second, in groups."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import uuid4

from relay.errors import Unavailable
from relay.store.counts.notes import histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.metrics.shown_calls import ShownCall, ShownCalls
    from relay.store.counts.measures import Measures

PERIOD_S: Final = 1.0
#: Names of the histograms in a plugin's totals.
WAITED: Final = "queue"
ATTEMPT: Final = "attempt"
#: How often each duration occurred, by webhook and histogram.
_Histograms: TypeAlias = "defaultdict[tuple[str, str], defaultdict[int, int]]"


class Gathering:
    """Durations by webhook, gathered since the last ones were added to the store."""

    def __init__(self, measures: Measures, process: str) -> None:
        self._measures = measures
        self._process = process
        self._gathered: dict[str, _Histograms] = {}  # by plugin
        self._unsure: dict[str, tuple[str, Counter[str]]] = {}  # by plugin, batch and amounts: the store may have them

    def add(self, name: str, webhook: tuple[str, str], duration_ms: int) -> None:
        """Note one duration of a plugin's webhook."""
        plugin, webhook_id = webhook
        if plugin not in self._gathered:
            self._gathered[plugin] = defaultdict(lambda: defaultdict(int))
        self._gathered[plugin][webhook_id, name][duration_ms] += 1

    def add_to_store(self) -> None:
        """Add what was gathered to the store; a batch that may not have arrived is sent again, before any later one."""
        self._send()
        for plugin in [each for each in self._gathered if each not in self._unsure]:
            self._unsure[plugin] = uuid4().hex, self._amounts(plugin)
        self._send()

    def _send(self) -> None:
        left = self._measures.add_all(self._process, self._unsure) if self._unsure else ()
        self._unsure = {plugin: self._unsure[plugin] for plugin in left}

    def _amounts(self, plugin: str) -> Counter[str]:
        amounts = Counter[str]()
        for (webhook_id, name), durations in self._gathered.pop(plugin).items():
            for place, amount in histogram(f"{webhook_id}:{name}", durations):
                amounts[place] += amount
        return amounts


class Reporter:
    """Reports what a worker process has gathered, the calls that it shows, and what scripts have noted."""

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
