"""How much later than it is accepted a trigger is to be sent: its member `delay`. Pure."""

from __future__ import annotations

import math
from typing import Any, Final

from relay.errors import Fault, RequestRejected

MAX_DELAY_S: Final = 30 * 24 * 3600
_RULE: Final = f"must be a number of seconds from 0 to {MAX_DELAY_S}"


def delay_ms(value: Any) -> int:
    """Return the delay of a trigger's JSON value in milliseconds, 0 where it has none; raises ``RequestRejected``."""
    delay_s = value.get("delay") if isinstance(value, dict) else None
    if delay_s is None:
        return 0
    if isinstance(delay_s, bool) or not isinstance(delay_s, int | float) or not 0 <= delay_s <= MAX_DELAY_S:
        raise RequestRejected(faults=(Fault("/delay", _RULE),))
    return math.ceil(delay_s * 1000)


def has_delay(value: Any) -> bool:
    """Return whether a trigger's JSON value has a `delay`, if only of 0: then nobody waits for its result."""
    return isinstance(value, dict) and value.get("delay") is not None
