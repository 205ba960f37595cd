"""The ``traceparent`` header (W3C Trace Context, level 1): carried from the caller to the endpoint, never made here."""

from __future__ import annotations

import re
from typing import Final

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z", re.ASCII
)


def valid_traceparent(value: str) -> bool:
    """Return whether the value is one to carry: version, trace and parent id, flags in lower-case hex, no id all zero.

    Later versions may append fields; such values are not carried, as nothing here could vouch for them.
    """
    return _TRACEPARENT.match(value) is not None
