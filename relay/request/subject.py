"""Reads a trigger's member `subject`: whom it concerns, such as a patient's id. Pure."""

from __future__ import annotations

import unicodedata
from typing import Any, Final

from relay.errors import Fault, RequestRejected

MAX_SUBJECT_CHARS: Final = 256
SUBJECT_RULE: Final = f"must be a string of 1 to {MAX_SUBJECT_CHARS} characters without control characters"
_NO_TEXT: Final = frozenset({"Cc", "Cs"})  # control characters, and halves of surrogate pairs


def is_subject(value: Any) -> bool:
    """Return whether a value can name whom a trigger concerns."""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= MAX_SUBJECT_CHARS
        and not any(unicodedata.category(character) in _NO_TEXT for character in value)
    )


def subject_of(value: Any) -> str | None:
    """Return the subject in a trigger's JSON value, None if it names none. Raises ``RequestRejected``."""
    subject = value.get("subject") if isinstance(value, dict) else None
    if subject is None:
        return None
    if not is_subject(subject):
        raise RequestRejected(faults=(Fault("/subject", SUBJECT_RULE),))
    return str(subject)
