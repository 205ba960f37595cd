"""What a worker measures by itself: histograms, gathered in the process and brought to the store in groups."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import uuid4

from relay.store.notes import add_durations

if TYPE_CHECKING:
    from relay.store.measures import Measures

#: Names of the histograms in a plugin's totals.
QUEUE_DELAY = "queue"
ATTEMPT_DURATION = "attempt"


class Gathering:
    """Durations by webhook since they were last brought to the store."""

    def __init__(self, measures: Measures, process: str) -> None:
        self._measures = measures
        self._process = process
        self._amounts: dict[str, Counter[str]] = {}  # plugin -> as totals have them
        self._unsure: tuple[str, str, Counter[str]] | None = None  # batch, plugin, amounts: may have been brought

    def add(self, name: str, webhook: tuple[str, str], duration_ms: int) -> None:
        """Note one duration of a plugin's webhook."""
        plugin, webhook_id = webhook
        amounts = self._amounts.get(plugin)
        if amounts is None:
            amounts = self._amounts[plugin] = Counter()
        add_durations(amounts, f"{webhook_id}:{name}", (duration_ms,))

    def bring(self) -> None:
        """Bring what was gathered to the store. Raises `Unavailable`; what was not brought surely is brought next."""
        while self._unsure is not None or self._amounts:
            batch, plugin, amounts = self._unsure or (uuid4().hex, *self._amounts.popitem())
            self._unsure = (batch, plugin, amounts)
            self._measures.add(plugin, self._process, batch, amounts)
            self._unsure = None
