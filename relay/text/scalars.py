"""Writes single values as the texts of headers and query parameters, and recognises base64. Pure."""

from __future__ import annotations

import base64
from typing import Any


def scalar_text(value: Any) -> str | None:
    """Return a text unchanged, and numbers and booleans as JSON writes them; None for any other value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else None


def is_base64(value: Any) -> bool:
    """Return whether a value is strict base64 (RFC 4648, section 4): the one text that its bytes encode to."""
    try:
        return isinstance(value, str) and base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
    except ValueError:
        return False
