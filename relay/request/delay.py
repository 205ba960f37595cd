"""Reads a trigger's member `delay`: how long after its acceptance it is to be sent. Pure."""

from __future__ import annotations

import math
from typing import Any, Final

from relay.errors import Fault, RequestRejected

MAX_DELAY_S: Final = 30 * 24 * 3600
_RULE: Final = f"must be a number of seconds from 0 to {MAX_DELAY_S}"


def delay_ms(value: Any) -> int:
    """Return the delay in a trigger's JSON value in milliseconds, 0 if it has none. Raises ``RequestRejected``."""
    delay_s = value.get("delay") if isinstance(value, dict) else None
    if delay_s is None:
        return 0
    if isinstance(delay_s, bool) or not isinstance(delay_s, int | float) or not 0 <= delay_s <= MAX_DELAY_S:
        raise RequestRejected(faults=(Fault("/delay", _RULE),))
    return math.ceil(delay_s * 1000)


def has_delay(value: Any) -> bool:
    """Return whether a trigger's JSON value has a `delay`, even of 0: its caller cannot wait for the result then."""
    return isinstance(value, dict) and value.get("delay") is not None
