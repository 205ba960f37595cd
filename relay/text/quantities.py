"""Reads amounts as people write them: sizes (``8MiB``), durations (``30d``), rates (``10/s``). Pure.

Every reader raises ``ValueError`` with a sentence that says what is wanted and never quotes its text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_SIZE: Final = re.compile(r"(\d{1,15})\s*(B|KiB|MiB|GiB)?\Z", re.IGNORECASE)
_DURATION: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)?\Z")
_RATE: Final = re.compile(r"([1-9]\d{0,6})/([sm])\Z")

_BYTES: Final = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PERIODS_S: Final = {"s": 1, "m": 60}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` in every ``period_s`` seconds."""

    count: int
    period_s: int

    def __str__(self) -> str:
        return f"{self.count}/{'s' if self.period_s == 1 else 'm'}"


def read_bytes(text: str) -> int:
    """Read a number of bytes from ``1048576``, ``64KiB``, ``8MiB`` or ``1GiB``."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError("must be a number of bytes, or one with KiB, MiB or GiB")
    return int(match[1]) * _BYTES[(match[2] or "b").lower()]


def read_seconds(text: str) -> float:
    """Read a number of seconds from ``30``, ``2.5``, ``500ms``, ``15m``, ``12h`` or ``30d``."""
    match = _DURATION.match(text.strip())
    if match is None:
        raise ValueError("must be a number of seconds, or one with ms, s, m, h or d")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def read_rate(text: str) -> Rate:
    """Read a rate from ``n/s`` or ``n/m``."""
    match = _RATE.match(text.strip())
    if match is None:
        raise ValueError("must be a rate such as 50/s or 600/m")
    return Rate(int(match[1]), _PERIODS_S[match[2]])
