"""What was refused without a good key or password: counted, and written once a minute.

Anybody can make as many of these as he likes, so that none is a line of its own.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Final

from relay.telemetry.log import Event, event

_PERIOD_S: Final = 60.0
_MAX_ADDRESSES: Final = 10_000  # told apart within a period


class UnkeyedRefusals:
    """What was refused without a key since the last time that it was written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._codes: Counter[str] = Counter()
        self._addresses: set[str] = set()
        self._since_s = time.monotonic()

    def add(self, code: str, address: str) -> None:
        """Count one."""
        with self._lock:
            self._codes[code] += 1
            if len(self._addresses) < _MAX_ADDRESSES:
                self._addresses.add(address)

    def write_if_due(self) -> None:
        """Write what has come together, once a minute."""
        now_s = time.monotonic()
        if now_s - self._since_s < _PERIOD_S:
            return
        with self._lock:
            codes, addresses, self._since_s = self._codes, len(self._addresses), now_s
            self._codes, self._addresses = Counter(), set()
        if codes:
            event(Event.REFUSED_WITHOUT_KEY, count=codes.total(), codes=dict(codes), addresses=addresses)
