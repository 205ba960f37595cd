"""Checks the ``traceparent`` headers of callers (W3C Trace Context, level 1); it makes none."""

from __future__ import annotations

import re
from typing import Final

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z", re.ASCII
)


def valid_traceparent(value: str) -> bool:
    """Return whether a value is valid: version, trace id, parent id and flags in lower-case hex, no id all zero.

    Later versions may append fields; such values are not valid here, because nothing could check them.
    """
    return _TRACEPARENT.match(value) is not None
