"""Undoes escapes: sequences that stand for single characters in an otherwise unchanged text.

Encoders differ in which characters they escape and how, and may be nested. Undoing their work reveals a text in every
such form, where a list of forms would miss some. A sequence that only looks like an escape stays as it is.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import lru_cache
from html.entities import html5
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.answer.decoded_text import GAP, SEPARATOR, DecodedText, Draft, Stretch

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Entities of ASCII characters, by their lower-case name (``amp``).
_NAMES: Final = {name.lower().rstrip(";").encode(): text.encode() for name, text in html5.items() if text.isascii()}
_NAME: Final = b"|".join(sorted(_NAMES, reverse=True))  # longer names before their own prefixes
_CONTROLS: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_SURROGATES: Final = rb"d[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}"


class Escapes(NamedTuple):
    """A kind of escapes: what all of them contain, and what they look like."""

    mark: bytes
    pattern: re.Pattern[bytes]
    layers: int = 1


def _kind(mark: bytes, pattern: bytes, layers: int = 1) -> Escapes:
    return Escapes(mark, re.compile(pattern, re.IGNORECASE | re.DOTALL), layers)


_QUOTES: Final = b"\"'`"
#: Quotes that are doubled (CSV, SQL) or, in a shell, put between further quotes.
DOUBLED_QUOTES: Final = (_kind(b'""', b'""'), _kind(b"'", rb"''|'\"'\"'|'\\''"), _kind(b"``", b"``"))
KINDS: Final = (
    _kind(b"%", rb"%u[0-9a-f]{4}|(?:%[0-9a-f]{2}){1,32}"),
    _kind(b"&", rb"&(?:#0{0,99}[0-9]{1,7};?|#x0{0,99}[0-9a-f]{1,6};?|(?:" + _NAME + rb");?)"),
    # JSON, JavaScript, C, Python, octal
    _kind(
        b"\\",
        rb"(?:\\x[0-9a-f]{2}){1,32}|\\(?:(?-i:U)00[01][0-9a-f]{5}|u(?:%b|\{0{0,99}[0-9a-f]{1,6}\}|[0-9a-f]{4})|"
        rb"x\{0{0,99}[0-9a-f]{1,6}\}|[0-3]?[0-7]{1,2}|[^ux])" % _SURROGATES,
    ),
    # Quoted-printable, with its soft line breaks, and the joints between the encoded words of a header
    _kind(b"=", rb"(?:=[0-9a-f]{2}){1,32}|=[ \t]*(?:\r\n|[\r\n])|\?=\s{1,9}=\?[!->@-~]{1,40}\?[bq]\?"),
)
#: Line breaks in base64, which are no layer of their own.
BREAKS: Final = tuple(_kind(mark, rb"(?<=[a-z0-9+/_-]{8})[\r\n]+[ \t]*(?=[a-z0-9+/_=-])", 0) for mark in (b"\n", b"\r"))
#: Bytes at which the neighbourhood of an escape ends, unless another escape follows directly.
_ENDS: Final = b' \t\r\n"' + SEPARATOR + GAP
_ENDED: Final = bytes(ord(" ") if byte in _ENDS else ord("x") for byte in range(256))
#: A needle whose characters are all escaped does not fit into a shorter neighbourhood.
_MIN_NEIGHBOURHOOD: Final = 11


def undone(parent: DecodedText, kind: Escapes, near: Iterable[Stretch]) -> DecodedText | None:
    """Undo one kind of escapes once, in their neighbourhoods and within ``near``; return None if there are none."""
    text = parent.text
    escapes = [match.span() for match in kind.pattern.finditer(text)]
    if not escapes:
        return None
    draft = Draft()
    starts = [start for start, _ in escapes]
    for first, last in parent.news(merged([*near, *_neighbourhoods(text, escapes)])):
        within = escapes[bisect_left(starts, first) : bisect_left(starts, last)]
        if not within:
            continue
        draft.begin(first)
        for start, stop in within:
            character = _character(text[start:stop])
            if character is not None:
                draft.keep(text, start)
                draft.put(character, start, stop)
        draft.keep(text, min(last, len(text)))
    return DecodedText.of(draft, parent, kind.layers) if draft.parts else None


def merged(spans: Iterable[Stretch]) -> list[Stretch]:
    """Return the spans in order, with overlapping ones joined."""
    joined: list[Stretch] = []
    for span in sorted(spans):
        if joined and span.start < joined[-1].stop:
            joined[-1] = Stretch(joined[-1].start, max(joined[-1].stop, span.stop))
        else:
            joined.append(span)
    return joined


def _neighbourhoods(text: bytes, escapes: Iterable[tuple[int, int]]) -> list[Stretch]:
    ended = text.translate(_ENDED)
    found: list[Stretch] = []
    for start, stop in escapes:
        if found and stop < found[-1].stop:
            continue
        # The encoded text may continue after an escape at the edge.
        first, last = ended.rfind(b" ", 0, max(0, start - 1)) + 1, ended.find(b" ", stop + 1)
        if last < 0:
            last = len(text)
        if found and first <= found[-1].stop + 1:
            found[-1] = Stretch(found[-1].start, last)
        else:
            found.append(Stretch(first, last))
    return [span for span in found if span.stop - span.start >= _MIN_NEIGHBOURHOOD]


@lru_cache(maxsize=4096)
def _character(escape: bytes) -> bytes | None:
    """Return what an escape, or a run of equally long ones, stands for: bytes, or a character in UTF-8."""
    mark, rest = escape[:1], escape[1:].lower()
    if mark == b"&":
        return _entity(rest)
    if mark in b"=?\r\n":
        digits = rest.replace(b"=", b"")
        return bytes.fromhex(digits.decode()) if digits.isalnum() else b""
    if mark == b"\\" and rest[:1] not in b"ux01234567":
        return _CONTROLS.get(rest, escape[1:])
    if rest[:1] == b"u" or rest[1:2] == b"{":
        return _code_units(rest[1:].strip(b"{}"))
    if rest[:1] == b"x" or mark == b"%":
        return bytes.fromhex(rest.translate(None, b"%\\x").decode())
    return mark if mark in _QUOTES else bytes([int(rest, 8)])


def _code_units(digits: bytes) -> bytes | None:
    if b"\\" in digits:
        units = bytes.fromhex(digits.replace(b"\\u", b"").decode())
        return units.decode("utf-16-be").encode()
    return _code_point(int(digits, 16))


def _entity(rest: bytes) -> bytes | None:
    digits = rest.strip(b"#;")
    if rest[:1] != b"#":
        return _NAMES.get(digits)
    return _code_point(int(digits[1:], 16) if digits[:1] == b"x" else int(digits))


def _code_point(code: int) -> bytes | None:
    return chr(code).encode("utf-8", "surrogatepass") if code <= 0x10FFFF else None
