"""The extent of JSON text: how deep it nests and how many values it holds, found before it is parsed.

A parser recurses, and makes an object of each value; both have to be bounded by something that does neither. One pass
looks at what stands outside of texts and stops at the first limit. It goes in pieces, so that the interpreter can give
another thread its turn in between: a single call over a large body would hold up the whole process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.errors import MalformedJson, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Values of one body: members, elements, texts, numbers. So many are parsed in some tenths of a second, in steps.
MAX_VALUES: Final = 250_000
_PIECE_BYTES: Final = 128 * 1024

#: Makes all that opens one sign and all that closes another, and takes away what is neither, nor separates.
_SIGNS: Final = bytes.maketrans(b"{}", b"[]")
_OTHERS: Final = bytes(sign for sign in range(256) if sign not in b"[]{},")
_OPENS: Final = ord("[")


def check_extent(raw: bytes, depth: int, max_values: int = MAX_VALUES) -> int:
    """Check how deep ``raw`` nests and how much it holds, as far as it is JSON; how many values that are, at most.

    Raises:
        MalformedJson: it nests deeper than ``depth``.
        TooLarge: it holds more than ``max_values`` values.
    """
    opened = raw.count(b"[") + raw.count(b"{")
    most = opened + raw.count(b",") + 1
    if opened <= depth and most <= max_values:
        return most
    level, values, inside = 0, 1, False
    for piece in _pieces(raw):
        marks = b"".join(piece.split(b'"')[inside::2]).translate(_SIGNS, _OTHERS)  # of what stands outside of texts
        level = _level_after(level, marks.replace(b",", b""), depth)
        values += len(marks) - marks.count(b"]")
        if values > max_values:
            raise TooLarge(f"The body holds more than {MAX_VALUES:,} values.")
        inside ^= bool(piece.count(b'"') & 1)
    return values


def _level_after(level: int, brackets: bytes, depth: int) -> int:
    """Return the level of nesting after these brackets."""
    for bracket in brackets:
        level += 1 if bracket == _OPENS else -1
        if level > depth:
            raise MalformedJson(f"The body is nested deeper than {depth}.")
    return level


def _pieces(raw: bytes) -> Iterator[bytes]:
    """Yield the text without its escapes of backslashes and quotes, piece by piece; no piece ends within an escape."""
    at = 0
    while at < len(raw):
        end = at + _PIECE_BYTES
        piece = raw[at:end]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            end += 1
            piece = raw[at:end]
        at = end
        yield piece.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in piece else piece
