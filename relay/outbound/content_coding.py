"""Undoes the content coding of an answer, in steps of bounded work.

A single coding that zlib knows is accepted: the input and the output of each of its steps can be bounded.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What a request offers (Accept-Encoding). An endpoint may send what was not offered.
OFFERED: Final = "gzip, deflate"
#: The most that a step reads and produces: less than a millisecond's work, whatever the bytes are.
STEP_CODED_BYTES: Final = 8 * 1024
STEP_CONTENT_BYTES: Final = 64 * 1024

_NO_CODING: Final = frozenset({"", "identity", "none"})
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_DEFLATE: Final = "deflate"
# zlib's numbers for the three formats
_GZIP_FORMAT: Final = 31
_ZLIB_FORMAT: Final = 15
_RAW_FORMAT: Final = -15


class Undecodable(ValueError):
    """The body is not one complete content in an accepted coding, or it is too large."""


def coding_of(fields: Iterable[str]) -> str | None:
    """Return the coding that Content-Encoding fields name, None for none; raise Undecodable for others or several."""
    names = [name.strip().lower() for field in fields for name in field.split(",")]
    codings = [name for name in names if name not in _NO_CODING]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in {*_GZIP, _DEFLATE}:
        raise Undecodable
    return codings[0]


def max_coded_bytes(max_bytes: int) -> int:
    """Return how long the coded body of ``max_bytes`` of content may be: a coding makes random bytes a bit longer."""
    return max_bytes + max_bytes // 16 + 1024


class Decoder:
    """Decodes one body, step by step. A body that is cut short, or followed by anything else, is not decoded at all."""

    def __init__(self, coded: bytes, coding: str, max_bytes: int) -> None:
        """``coded`` is not empty; the content may have ``max_bytes``."""
        self._coded = coded
        self._taken = 0
        self._format = _GZIP_FORMAT if coding in _GZIP else _deflate_format(coded)
        self._stream = zlib.decompressobj(self._format)
        self._room = max_bytes
        self._parts: list[bytes] = []
        self.ended = False

    @property
    def content(self) -> bytes:
        """The content so far."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def step(self) -> None:
        """Decode some more, and note whether the content has ended. Raises Undecodable."""
        end, room = self._taken + STEP_CODED_BYTES, STEP_CONTENT_BYTES
        while room > 0 and self._taken < end and not self.ended:
            coded = self._coded[self._taken : end]
            part = self._inflated(coded, room)
            room -= len(part)
            if self._stream.eof:
                self._end_member()
            elif not coded and not part:
                raise Undecodable  # it is cut short

    def _inflated(self, coded: bytes, room: int) -> bytes:
        stream = self._stream
        try:
            part = stream.decompress(coded, room)
        except zlib.error:
            raise Undecodable from None
        self._taken += len(coded) - len(stream.unconsumed_tail) - len(stream.unused_data)
        self._room -= len(part)
        if self._room < 0:
            raise Undecodable
        if part:
            self._parts.append(part)
        return part

    def _end_member(self) -> None:
        """End the content, or begin the next of several gzip members, which together are one content (RFC 1952)."""
        if self._taken == len(self._coded):
            self.ended = True
        elif self._format == _GZIP_FORMAT:
            self._stream = zlib.decompressobj(_GZIP_FORMAT)
        else:
            raise Undecodable


def _deflate_format(coded: bytes) -> int:
    """Tell zlib's format, which "deflate" means, from the raw one, which some endpoints send and browsers accept."""
    is_zlib = len(coded) > 1 and coded[0] & 15 == zlib.DEFLATED and (coded[0] << 8 | coded[1]) % 31 == 0
    return _ZLIB_FORMAT if is_zlib else _RAW_FORMAT
