"""Recognises strict base64. Pure."""

from __future__ import annotations

import base64
from typing import Any


def is_base64(value: Any) -> bool:
    """Return whether a value is strict base64 (RFC 4648, section 4): the one text that its bytes encode to."""
    try:
        return isinstance(value, str) and base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
    except ValueError:
        return False
