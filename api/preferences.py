"""Reads the `Prefer` header (RFC 7240), and tells the caller which preferences were applied.

A preference never fails a request: one that cannot be read is ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_WAIT_S: Final = 60
_MAX_CHARS: Final = 4_096  # of the header; a longer one is ignored
_RESPOND_ASYNC: Final = "respond-async"

# A comma outside a quoted string ends a preference; a semicolon begins its parameters, which are ignored.
_PREFERENCE: Final = re.compile(
    r"""\s*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)
        (?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[^\s",;]*)))?
        \s*(?:;(?:[^",]|"(?:[^"\\]|\\.)*")*)?\Z""",
    re.VERBOSE | re.ASCII,
)
_PIECES: Final = re.compile(r'(?:[^",\\]|\\.|"(?:[^"\\]|\\.)*"|")+', re.ASCII | re.DOTALL)
_DIGITS: Final = re.compile(r"[0-9]+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Preferences:
    """A caller's preferences. ``wait_s`` is None if no readable wait was given, otherwise 0 to ``MAX_WAIT_S``."""

    respond_async: bool = False
    wait_s: int | None = None

    @classmethod
    def read(cls, header: str | None) -> Preferences:
        """Read the header's value (several lines joined by commas); the first preference of a name counts."""
        return _NONE if header is None or len(header) > _MAX_CHARS else _read(header)

    def wait_or(self, default_s: float) -> float:
        """Return how many seconds to wait: those asked for, 0 for ``respond-async`` alone, otherwise the default."""
        if self.wait_s is not None:
            return self.wait_s
        return 0 if self.respond_async else default_s

    def applied(self, *, waited: bool, responded_async: bool) -> str | None:
        """Return the value of `Preference-Applied`, which names the preferences applied; None if none of them was.

        A wait of 0 always is.
        """
        done = []
        if self.respond_async and responded_async:
            done.append(_RESPOND_ASYNC)
        if self.wait_s is not None and (waited or self.wait_s == 0):
            done.append(f"wait={self.wait_s}")
        return ", ".join(done) or None


_NONE: Final = Preferences()


@lru_cache(maxsize=64)  # callers send few different ones
def _read(header: str) -> Preferences:
    found: dict[str, str] = {}
    for name, value in _preferences(header):
        found.setdefault(name, value)
    wait = found.get("wait", "")
    return Preferences(
        respond_async=_RESPOND_ASYNC in found and not found[_RESPOND_ASYNC],
        wait_s=min(int(wait), MAX_WAIT_S) if _DIGITS.match(wait) else None,
    )


def _preferences(header: str) -> Iterator[tuple[str, str]]:
    for piece in _PIECES.findall(header):
        match = _PREFERENCE.match(piece)
        if match:
            quoted = match["quoted"]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match["word"] or ""
            yield match["name"].lower(), value
