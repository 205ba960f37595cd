"""Writes JSON pointers (RFC 6901)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def escape_step(name: str) -> str:
    """Return a name as a segment of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def pointer_of(steps: Iterable[str | int]) -> str:
    """Return the pointer to the value to which these names and numbers lead."""
    return "".join(f"/{escape_step(str(step))}" for step in steps)
