"""Makes names of types, and texts that are safe within generated code. Pure."""

from __future__ import annotations

import re
from typing import Final

_PARTS: Final = re.compile(r"[A-Za-z0-9]+")
_MAX_LENGTH: Final = 80
_MAX_NOTE: Final = 200


class TypeNames:
    """Gives each type a name of letters and digits that no other has."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, *words: str) -> str:
        """Return a new name made of these words, which may be any text."""
        parts = [part for word in words for part in _PARTS.findall(word)]
        name = "".join(part[0].upper() + part[1:] for part in parts)[:_MAX_LENGTH]
        name = name if name[:1].isalpha() else f"W{name}"
        number, found = 1, name
        while found in self._given:
            number += 1
            found = f"{name}_{number}"
        self._given.add(found)
        return found


def note(text: str | None) -> str | None:
    """Return a text as one line for a comment: without what could end the comment or mislead its reader."""
    if not text:
        return None
    shown = "".join(each if each.isprintable() else " " for each in text).replace("*/", "* /")
    line = " ".join(shown.split())
    return (line if len(line) <= _MAX_NOTE else f"{line[: _MAX_NOTE - 1]}…") or None
