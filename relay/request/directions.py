"""Reads what a trigger tells the relay itself: who it concerns, such as a patient's id, and when to send it. Pure."""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Fault, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DELAY_S: Final = 30 * 24 * 3600
MAX_SUBJECT_CHARS: Final = 256
SUBJECT_RULE: Final = f"must be a string of 1 to {MAX_SUBJECT_CHARS} characters without control characters"
_DELAY_RULE: Final = f"must be a number of seconds from 0 to {MAX_DELAY_S}"
_NO_TEXT: Final = frozenset({"Cc", "Cs"})  # control characters, and halves of surrogate pairs


def delay_ms(trigger: Any) -> int:
    """Return the delay in a trigger's JSON value, in milliseconds; 0 if it has none. Raises ``RequestRejected``."""
    if not has_delay(trigger):
        return 0
    delay_s = trigger["delay"]
    if isinstance(delay_s, bool) or not isinstance(delay_s, int | float) or not 0 <= delay_s <= MAX_DELAY_S:
        raise RequestRejected(faults=(Fault("/delay", _DELAY_RULE),))
    return math.ceil(delay_s * 1000)


def has_delay(trigger: Any) -> bool:
    """Return whether a trigger's JSON value has a `delay`, even 0: if so, its caller cannot wait for the result."""
    return isinstance(trigger, dict) and trigger.get("delay") is not None


def is_subject(value: Any) -> bool:
    """Return whether a value can name the subject of a trigger."""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= MAX_SUBJECT_CHARS
        and not any(unicodedata.category(character) in _NO_TEXT for character in value)
    )


def subject_of(trigger: Mapping[str, Any]) -> str | None:
    """Return the subject in a trigger's JSON object; None if it names none. Raises ``RequestRejected``."""
    subject = trigger.get("subject")
    if subject is None:
        return None
    if not is_subject(subject):
        raise RequestRejected(faults=(Fault("/subject", SUBJECT_RULE),))
    return str(subject)
