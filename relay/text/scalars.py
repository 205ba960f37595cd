"""Writes single values as the texts of headers and query parameters. Pure."""

from __future__ import annotations

from typing import Any


def scalar_text(value: Any) -> str | None:
    """Return a text unchanged, and numbers and booleans as JSON writes them; None for any other value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else None
