"""Counts requests that were refused for lack of a valid key or password, and logs the counts once a minute.

Anybody can cause any number of these, so they do not get a log line each.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

from relay.authentication.source_address import MAX_SOURCE_ADDRESSES, PERIOD_S
from relay.telemetry.log import Event, event


class UnkeyedRefusals:
    """The refusals since the last log line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._codes: Counter[str] = Counter()
        self._addresses: set[str] = set()
        self._since_s = time.monotonic()

    def add(self, code: str, address: str) -> None:
        """Count one refusal, by its error code and source address."""
        with self._lock:
            self._codes[code] += 1
            if len(self._addresses) < MAX_SOURCE_ADDRESSES:
                self._addresses.add(address)

    def write_if_due(self) -> None:
        """Log the refusals since the last time, once a minute."""
        now_s = time.monotonic()
        if now_s - self._since_s < PERIOD_S:
            return
        with self._lock:
            codes, addresses, self._since_s = self._codes, len(self._addresses), now_s
            self._codes, self._addresses = Counter(), set()
        if codes:
            event(Event.REFUSED_WITHOUT_KEY, count=codes.total(), codes=dict(codes), addresses=addresses)
