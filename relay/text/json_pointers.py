"""Writes JSON pointers (RFC 6901)."""

from __future__ import annotations


def escape_step(name: str) -> str:
    """Return a name as a segment of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
