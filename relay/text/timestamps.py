"""Writes points in time as RFC 3339 in UTC with milliseconds; reads any RFC 3339 time, or an age. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

# RFC 3339, section 5.6: the offset is required, and leap seconds are not accepted.
_RFC3339: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:[0-5]\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})\Z", re.ASCII
)
#: An age, as a regular expression for JSON Schema.
AGE_PATTERN: Final = "^[0-9]{1,9}[smhd]$"
_AGE: Final = re.compile(r"([0-9]{1,9})([smhd])\Z", re.ASCII)
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RULE: Final = "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"


def rfc3339(time_ms: int | None) -> str | None:
    """Write milliseconds since the epoch as RFC 3339 text in UTC, ``2026-01-31T12:00:00.000Z``; None stays None."""
    if time_ms is None:
        return None
    seconds, millis = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def read_rfc3339(text: str) -> int:
    """Read an RFC 3339 time as milliseconds since the epoch; finer digits are dropped.

    Raises ``ValueError`` with a sentence that does not quote the text.
    """
    if not _RFC3339.match(text):
        raise ValueError(_RULE)
    try:
        moment = datetime.fromisoformat(text.upper())
        return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000
    except (ValueError, OverflowError):
        raise ValueError(_RULE) from None


def read_time(text: str, now_ms: int) -> int:
    """Read a time as `read_rfc3339` does, or as an age at ``now_ms``: ``90s``, ``15m``, ``2h``, ``7d``.

    Every route and command reads times with this function. An age that reaches back beyond the epoch
    means the epoch.
    """
    age = _AGE.match(text)
    if age is not None:
        return max(0, now_ms - int(age[1]) * _UNITS_MS[age[2]])
    try:
        return read_rfc3339(text)
    except ValueError as error:
        raise ValueError(f"{error}, or an age: 90s, 15m, 2h, 7d") from None
