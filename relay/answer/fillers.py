"""Takes out what encoders put between the characters of a text, and remembers where it stood.

Base64 is broken into lines (MIME, PEM), UTF-16 has a zero byte beside each ASCII character, and HTML's numbers may have
any number of leading zeros. What is taken out here is only searched, never shown.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# All of lower-cased bytes. Each alternative begins with a literal, by which the search skips what cannot match; each
# match takes in whatever can follow, so that no byte is looked at twice.
_OF_BASE64: Final = rb"[a-z0-9+/_-]"
_BREAKS: Final = (
    *(rb"\n(?<=%b\n)" % _OF_BASE64, rb"\r(?<=%b\r)" % _OF_BASE64, rb"=[\r\n](?<=%b=[\r\n])" % _OF_BASE64),
    *(rb"\\[rn](?<=%b\\[rn])" % _OF_BASE64, rb"%%0[da](?<=%b%%0[da])" % _OF_BASE64),
    *(rb"&#x0*+[da](?![0-9a-f]);?", rb"&#0*+1[03](?![0-9]);?"),
)
_MORE_BREAKS: Final = rb"(?:[\r\n \t]|\\[rn]|%0[da]|&#(?:x0*+[da](?![0-9a-f])|0*+1[03](?![0-9]));?)*+"
# Zeros before a number; what is kept of the match is in its groups.
_ZEROS: Final = rb"&(?<=(&))(#x?)0++"
_WITHIN_TEXT: Final = re.compile(b"|".join((*(each + _MORE_BREAKS for each in _BREAKS), _ZEROS)))
_WITHIN_BYTES: Final = re.compile(rb"\x00\x00*+|" + _WITHIN_TEXT.pattern)


class Squeezed:
    """Lower-cased bytes without fillers; zero bytes are some where ``zeros`` says so."""

    __slots__ = ("_ends", "_lengths", "_pattern", "_raw", "text")

    def __init__(self, lowered: bytes, *, zeros: bool) -> None:
        self._raw = lowered
        self._pattern = _WITHIN_BYTES if zeros else _WITHIN_TEXT
        self._ends: list[int] | None = None
        self._lengths: list[int] = []
        #: None where there are no fillers.
        self.text = self._pattern.sub(rb"\1\2", lowered) if self._pattern.search(lowered) else None

    def origins(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Where spans of the text stood in what it was made of."""
        return [(self._origin(start), self._origin(stop - 1) + 1) for start, stop in spans]

    def _origin(self, position: int) -> int:
        ends = self._filler_ends()
        before = bisect_right(ends, position)
        return position + (self._lengths[before - 1] if before else 0)

    def _filler_ends(self) -> list[int]:
        """Where in the text each filler was; beside it ``_lengths``, how much was taken out up to there."""
        if self._ends is None:
            self._ends, taken = [], 0
            for match in self._pattern.finditer(self._raw):
                kept = match.end(2) if match[1] else match.start()
                self._ends.append(kept - taken)
                taken += match.end() - kept
                self._lengths.append(taken)
        return self._ends
