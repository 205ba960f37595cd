"""Undoing escapes, and tracing each resulting byte to its position: every character, in every kind of escape."""

from __future__ import annotations

from html.entities import html5

import hypothesis.strategies as st
import pytest
from hypothesis import given

from relay.answer.unescaping import unescape

CHARACTERS = st.characters(codec="utf-8")
#: The kinds of escapes: how each writes a character, as one escape for each byte or one for all.
WAYS = [
    (b"%", lambda character: [f"%{byte:02x}" for byte in character.encode()]),
    (b"&", lambda character: [f"&#{ord(character)};"]),
    (b"&", lambda character: [f"&#{ord(character):07}"]),
    (b"&", lambda character: [f"&#x{ord(character):x};"]),
    (b"&", lambda character: [f"&#x{ord(character):06x}"]),
    (b"\\", lambda character: ["".join(f"\\u{unit}" for unit in character.encode("utf-16-be").hex(" ", -2).split())]),
]
#: Escapes that stand for one character, and the lower-cased bytes that they become.
SINGLE = [
    *((b"&", f"&{name}".lower(), text) for name, text in html5.items() if text.isascii()),
    *((b"\\", f"\\{sign}", text) for sign, text in zip("bfnrt", "\b\f\n\r\t", strict=True)),
    *((b"\\", f"\\{sign}", sign) for sign in '"\\/a '),
    (b"\\", "\\\n", "\n"),
    *((b"\\", f"\\x{code:02x}", bytes([code])) for code in (0, 0x2F, 0x41, 0xFF)),
    *((b"\\", f"\\u{code:04x}", chr(code)) for code in (0, 0x2F, 0xD800, 0xDFFF, 0xE000)),
    *((b"%", f"%{code:02x}", bytes([code])) for code in (0, 0x2F, 0x41, 0xFF)),
    *((b"&", f"&#{code}", chr(code)) for code in (0, 9, 0xD800, 0x10FFFF)),
    *((b"&", f"&#x{code:x}", chr(code)) for code in (0, 9, 0xD800, 0x10FFFF)),
]
#: Texts that are not escapes, or escapes of another kind.
NONE = [
    *((b"&", each) for each in ("&", "&;", "&#;", "&#x;", "&nosuch;", "&#1114112;", "&#x110000", "&#9999999", "#65;")),
    *((b"%", each) for each in ("%", "%4", "%g0", "&#65;", "\\u0041")),
    *((b"\\", each) for each in ("\\", "\\u", "\\u004", "\\x4", "%41")),
]


def lower(text):
    return (text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")).lower()


@given(st.sampled_from(WAYS), st.lists(CHARACTERS, min_size=1, max_size=5))
def test_each_character_is_undone_and_each_byte_of_it_began_where_its_escape_did(way, characters):
    kind, escapes_of = way
    written, text, origins = b"<", b"<", [0]
    for character in characters:
        escapes = escapes_of(character)
        for index, escape in enumerate(escapes):
            came = lower(character)[index : index + 1] if len(escapes) > 1 else lower(character)
            text += came
            origins += [len(written)] * len(came)
            written += escape.encode()
        text += b"|"
        origins.append(len(written))
        written += b"|"
    assert unescape(written, kind) == (text, [*origins, len(written)])


@pytest.mark.parametrize(("kind", "escape", "stands_for"), SINGLE, ids=ascii)
def test_an_escape_is_undone_to_what_it_stands_for(kind, escape, stands_for):
    came, end = lower(stands_for), 2 + len(escape)
    expected = b"<-" + came + b"->", [0, 1, *[2] * len(came), end, end + 1, end + 2]
    assert unescape(f"<-{escape}->".encode(), kind) == expected


@pytest.mark.parametrize(("kind", "text"), NONE, ids=ascii)
def test_what_only_looks_like_an_escape_is_left(kind, text):
    assert unescape(text.encode(), kind) is None
    good = {b"&": b"&amp;", b"%": b"%26", b"\\": b"\\x26"}[kind]
    size = len(text)
    expected = b"&" + text.encode(), [0, *range(len(good), len(good) + size + 1)]
    assert unescape(good + text.encode(), kind) == expected
