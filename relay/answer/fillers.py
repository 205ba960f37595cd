"""Takes out what encoders put between the characters of a text, and remembers where it stood.

Base64 is broken into lines (MIME, PEM), UTF-16 has a zero byte beside each ASCII character, and the numeric escapes of
HTML may have any number of leading zeros. The text without these fillers is only searched, never shown.

A regular expression holds Python's lock until it has found a match, so long answers are searched a piece at a time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from relay.answer.forms import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# All patterns are for lower-cased bytes. Each alternative begins with a literal, so that the search skips what cannot
# match; each match includes all that may follow, so that no byte is looked at twice.
_OF_BASE64: Final = rb"[a-z0-9+/_-]"
_BREAKS: Final = (
    *(rb"\n(?<=%b\n)" % _OF_BASE64, rb"\r(?<=%b\r)" % _OF_BASE64, rb"=[\r\n](?<=%b=[\r\n])" % _OF_BASE64),
    *(rb"\\[rn](?<=%b\\[rn])" % _OF_BASE64, rb"%%0[da](?<=%b%%0[da])" % _OF_BASE64),
    *(rb"&#x0*+[da](?![0-9a-f]);?", rb"&#0*+1[03](?![0-9]);?"),
)
_MORE_BREAKS: Final = rb"(?:[\r\n \t]|\\[rn]|%0[da]|&#(?:x0*+[da](?![0-9a-f])|0*+1[03](?![0-9]));?)*+"
# Zeros before a number; the groups hold the part of the match that is kept.
_ZEROS: Final = rb"&(?<=(&))(#x?)0++"
_WITHIN_TEXT: Final = re.compile(b"|".join((*(each + _MORE_BREAKS for each in _BREAKS), _ZEROS)))
_WITHIN_BYTES: Final = re.compile(rb"\x00\x00*+|" + _WITHIN_TEXT.pattern)
#: Breaks at the start of a piece that continue those at the end of the piece before.
_CONTINUED: Final = re.compile(_MORE_BREAKS)
#: Where bytes may be cut into pieces: no filler reaches across such a place, except by further breaks and zeros.
_PARTING: Final = re.compile(rb"(?=[&%=\\ \t]|(?<!=)[\r\n]|[^0-9a-f;#xrn\r\n])")


class Squeezed:
    """Lower-cased bytes without fillers; with ``zeros``, zero bytes are fillers too."""

    __slots__ = ("_ends", "_lengths", "text")

    def __init__(self, lowered: bytes, *, zeros: bool) -> None:
        #: The bytes without fillers; None if there were no fillers.
        self.text: bytes | None = None
        # Where in the text each filler was, and how much was taken out up to there.
        self._ends: list[int] = []
        self._lengths: list[int] = []
        pattern = _WITHIN_BYTES if zeros else _WITHIN_TEXT
        if len(lowered) > PIECE_BYTES or pattern.search(lowered):  # nearly always not
            self._take_out(lowered, pattern)

    def _take_out(self, lowered: bytes, pattern: re.Pattern[bytes]) -> None:
        text = bytearray()
        end = taken = 0
        for start, stop in _fillers(lowered, pattern):
            text += lowered[end:start]
            self._ends.append(start - taken)
            taken += stop - start
            self._lengths.append(taken)
            end = stop
        if taken:
            text += lowered[end:]
            self.text = bytes(text)

    def origins(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Map spans of the text to their spans in the original bytes."""
        return [(self._origin(start), self._origin(stop - 1) + 1) for start, stop in spans]

    def _origin(self, position: int) -> int:
        before = bisect_right(self._ends, position)
        return position + (self._lengths[before - 1] if before else 0)


def _fillers(lowered: bytes, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the spans of the fillers, in order."""
    start, breaks = 0, False  # whether the last filler was breaks, up to the end of its piece
    for end in _ends_of_pieces(lowered):
        stop = _CONTINUED.match(lowered, start, end).end() if breaks else start  # type: ignore[union-attr]
        if stop > start:
            yield start, stop
        breaks = breaks and stop == end
        for match in pattern.finditer(lowered, stop, end):
            stop = match.end()
            yield (match.end(2) if match[1] else match.start()), stop
            breaks = stop == end and lowered[stop - 1] != 0 and not match[1]
        start = end


def _ends_of_pieces(lowered: bytes) -> Iterator[int]:
    end = 0
    while len(lowered) - end > PIECE_BYTES:
        found = _PARTING.search(lowered, end + PIECE_BYTES)
        if found is None:
            break
        end = found.start()
        yield end
    yield len(lowered)
