"""Undoes percent, HTML and JSON escapes, one kind at a time, and remembers where each byte came from.

Encoders differ in which characters they escape and how, and may be nested. Undoing their work finds a text in every
such form, where a list of forms would miss some. The decoded text is only searched, never shown.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html.entities import html5
from typing import Final

from relay.registration.header_rules import MIN_MASKED_LENGTH

#: Entities of ASCII characters, by their lower-case name (``amp``).
_NAMES: Final = {name.lower().rstrip(";").encode(): text.encode() for name, text in html5.items() if text.isascii()}
_NAME: Final = b"|".join(sorted(_NAMES, reverse=True))  # longer names before their own prefixes
#: Each kind of escapes: the byte that all of them begin with, and what they look like in lower-cased bytes.
KINDS: Final = {
    b"%": re.compile(rb"%[0-9a-f]{2}"),
    b"&": re.compile(rb"&(?:#[0-9]{1,7};?|#x[0-9a-f]{1,6};?|(?:" + _NAME + rb");?)"),
    b"\\": re.compile(rb"\\(?:u(?:d[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|[0-9a-f]{4})|x[0-9a-f]{2}|[^ux])", re.DOTALL),
}
#: A text whose every character is a numeric escape of HTML, so that it contains no anchor.
_NUMBER: Final = rb"&#(?:x[0-9a-f]{1,6}|[0-9]{1,7});?+"
NUMBERS: Final = re.compile(rb"%b(?:%b){%d,}+" % (_NUMBER, _NUMBER, MIN_MASKED_LENGTH - 1))
_CONTROLS: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def unescape(lowered: bytes, kind: bytes) -> tuple[bytes, list[int]] | None:
    """Undo one kind of escapes once; return the text and where each byte and the end began, or None without escapes.

    Takes and returns lower-cased bytes. A sequence that only looks like an escape stays as it is.
    """
    text = bytearray()
    origins: list[int] = []
    end = 0
    for match in KINDS[kind].finditer(lowered) if kind in lowered else ():
        decoded = _decoded(match[0])
        if decoded is None:
            continue
        start, stop = match.span()
        text += lowered[end:start]
        text += decoded
        origins += range(end, start)
        origins += [start] * len(decoded)
        end = stop
    if not end:
        return None
    origins += range(end, len(lowered) + 1)
    text += lowered[end:]
    return bytes(text), origins


@lru_cache(maxsize=4096)
def _decoded(escape: bytes) -> bytes | None:
    mark, rest = escape[:1], escape[1:]
    if mark == b"&":
        return _entity(rest)
    if mark == b"%" or rest[:1] == b"x":
        return bytes.fromhex(rest.removeprefix(b"x").decode("ascii")).lower()
    if rest[:1] == b"u":
        units = bytes.fromhex(rest.replace(b"\\u", b"")[1:].decode("ascii"))
        return units.decode("utf-16-be", "surrogatepass").encode("utf-8", "surrogatepass").lower()
    return _CONTROLS.get(rest, rest)


def _entity(rest: bytes) -> bytes | None:
    if rest[:1] != b"#":
        return _NAMES.get(rest.rstrip(b";"))
    digits = rest[1:].rstrip(b";")
    code = int(digits[1:], 16) if digits[:1] == b"x" else int(digits)
    return chr(code).encode("utf-8", "surrogatepass").lower() if code <= 0x10FFFF else None
