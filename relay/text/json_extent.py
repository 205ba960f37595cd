"""Finds how deep JSON text nests and how many values it contains, before it is parsed.

A parser recurses, and makes an object of each value, so both must be limited before it runs. One pass looks at the
characters outside strings and stops at the first limit. It works in pieces, so that the interpreter can run other
threads in between: a single call over a large body would block the whole process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.errors import MalformedJson, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How deep arrays and objects may nest; checked before anything is parsed, as parsers recurse.
MAX_DEPTH: Final = 32
#: The most values in one body: members, elements, texts, numbers. They are parsed in some tenths of a second, in steps.
MAX_VALUES: Final = 250_000
_PIECE_BYTES: Final = 128 * 1024

#: Map all opening brackets to one sign and all closing ones to another, and delete all but brackets and commas.
_SIGNS: Final = bytes.maketrans(b"{}", b"[]")
_OTHERS: Final = bytes(sign for sign in range(256) if sign not in b"[]{},")
_OPENS: Final = ord("[")


def check_extent(raw: bytes, depth: int, max_values: int = MAX_VALUES) -> int:
    """Check how deep JSON text nests and how many values it contains; return that number, or an upper bound.

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
        marks = b"".join(piece.split(b'"')[inside::2]).translate(_SIGNS, _OTHERS)  # of those outside of strings
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
    """Yield the text in pieces, without its escaped backslashes and quotes; no piece ends within an escape."""
    at = 0
    while at < len(raw):
        end = at + _PIECE_BYTES
        piece = raw[at:end]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            end += 1
            piece = raw[at:end]
        at = end
        yield piece.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in piece else piece
