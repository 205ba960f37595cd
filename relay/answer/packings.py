"""Undoes encodings that change every byte of a text: base64, hex, UTF-16, lists of numbers and dumps.

Most texts contain none, so each is looked for in a way that costs a few nanoseconds a byte: as arithmetic on an integer
whose bytes are the classes of the text's characters.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from bisect import bisect_left, bisect_right
from itertools import accumulate, compress, islice
from typing import TYPE_CHECKING, Final

from relay.answer.decoded_text import GAP, SEPARATOR, DecodedText, Draft, Stretch

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The longest text that may be looked at.
MAX_BYTES: Final = 1 << 21
_ONES: Final = int.from_bytes(b"\1" * MAX_BYTES, "little")

# -- base64: four characters are three bytes --------------------------------------------------------------------------
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
#: Characters outside the alphabet become slashes, which decode to no text.
_DIGITS_64: Final = bytes(byte if byte in _ALPHABET else ord("/") for byte in _STANDARD)


def _class_64(byte: int) -> int:
    """Return a bit for each place in a group of four where this character may stand if the group is ASCII text."""
    value = _ALPHABET.find(_STANDARD[byte])
    if value < 0:
        return 0
    first = value in {0, 2, 3} or 8 <= value < 32
    second = value % 16 in {0, *range(2, 8)}
    third = value % 4 < 2
    return first | second << 1 | third << 2 | 1 << 3


_CLASSES_64: Final = bytes(map(_class_64, range(256)))
_GROUPS: Final = re.compile(rb"\x01\x01+")

# -- hex: two digits are a byte ---------------------------------------------------------------------------------------
_NO_DIGITS_16: Final = bytes(byte for byte in range(256) if byte not in b"0123456789abcdef")
_IS_DIGIT_16: Final = bytes(byte not in _NO_DIGITS_16 for byte in range(256))
#: Bits: the first digit of a visible character; the first of a NUL, tab or line end; the second of these; any digit.
_CLASSES_16: Final = bytes(
    (byte in b"234567") | (byte == ord("0")) << 1 | (byte in b"09ad") << 2 | 1 << 3 for byte in range(256)
)
_BLOCK_BYTES: Final = 512
_PAIRS: Final = re.compile(rb"\x01\x01{7,}")

# -- others -----------------------------------------------------------------------------------------------------------
#: UTF-16, UTF-32 and UTF-16 of UTF-32: ASCII characters with 1, 3 or 7 zero bytes between them.
_WIDE: Final = re.compile(rb"|".join(rb"(?:[\t\r\n -~]\0{%d}){7,}[\t\r\n -~]" % zeros for zeros in (1, 3, 7)))
_DECIMAL_CLASSES: Final = bytes.maketrans(b"123456789\xff\t\r\n+", b"0" * 9 + b"," + b" " * 4)
#: Three numbers of a list without commas; few other texts have such.
_SPACED: Final = re.compile(rb"00 {1,4}0{1,3} {1,4}0")
#: A number in a list that is a visible character, white space or zero, and what may stand between two of them.
_CODE: Final = rb"(?<![0-9.])(?:0|9|1[03]|3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6])(?![0-9.])"
_BLANKS: Final = rb"(?:[\s+]|=\r?\n|\\+[nrt])*+"
_DECIMALS: Final = re.compile(rb"%b(?:%b[,\xff]?%b%b){7,}" % (_CODE, _BLANKS, _BLANKS, _CODE))
_DECIMAL: Final = re.compile(rb"[0-9]+")
#: Such numbers as members of an object, each after its index (a ``Uint8Array`` as JSON).
_INDEXED_CODE: Final = rb"\"?[0-9]{1,7}+\"?%b[:\xff]%b%b" % (_BLANKS, _BLANKS, _CODE)
_INDEXED: Final = re.compile(rb"(?<![0-9.])%b(?:%b[,\xff]%b%b){7,}" % (_INDEXED_CODE, _BLANKS, _BLANKS, _INDEXED_CODE))
#: A line of a dump: where its bytes begin in the file, up to 16 bytes in hex, perhaps these as text.
_OFFSET: Final = rb"[0-9a-f]{4,8}[: \t+]"
_SECOND_LINE: Final = re.compile(rb"0010[ :+]")
_LINE_END: Final = rb"(?:\r?\n|[\xfe\xff]|(?:\\+r)?\\+n(?=" + _OFFSET + rb"))"
_DUMPED: Final = re.compile(
    rb"%b[ \t+]*((?:[0-9a-f]{2}[ +]{0,2}){1,16})(?:(?!%b)[^\r])*+(?:%b)?" % (_OFFSET, _LINE_END, _LINE_END),
    re.IGNORECASE | re.DOTALL,
)
_PRINTABLE: Final = re.compile(rb"[\0\t\n\r -~]{9,}")


def unpacked(parent: DecodedText) -> DecodedText | None:
    """Undo all of these encodings once, wherever they may hide text; return None if there are none."""
    text, lowered = parent.text, parent.lowered
    classes = int.from_bytes(text.translate(_CLASSES_64), "little")
    groups = classes & classes >> 9 & classes >> 18 & classes >> 27 & _ONES
    has_groups = groups & groups >> 32
    lowered = lowered.replace(b"0x", b"  ") if b"0x" in lowered else lowered
    digits = lowered.translate(_CLASSES_16, _NO_DIGITS_16)
    classes = int.from_bytes(digits, "little")
    pairs = (classes | classes >> 1 & classes >> 10) & classes >> 11 & _ONES
    four = pairs & pairs >> 16
    four &= four >> 32
    has_pairs = four & four >> 64
    has_zeros, has_lines = b"\0" in text, _SECOND_LINE.search(text) if b"0010" in text else None
    lists = text.translate(_DECIMAL_CLASSES, b" \r\n\t+\\=nrt")
    spaced = _SPACED.search(text.translate(_DECIMAL_CLASSES))
    has_decimals = b"00,0" in lists or b'00,"0' in lists or spaced is not None
    if not (has_groups or has_pairs or has_decimals or has_zeros or has_lines):
        return None
    found = Draft()
    if has_groups:
        _add_base64(found, text, groups.to_bytes(len(text), "little"))
    if has_pairs:
        _add_hex(found, lowered, pairs.to_bytes(len(digits), "little"))
    if has_decimals:
        _add_decimals(found, text)
    if has_zeros:
        _add_wide(found, text)
    if has_lines:
        _add_dump(found, text)
    return DecodedText.of(found, parent, 1) if found.parts else None


def printable(parent: DecodedText) -> DecodedText:
    """Return only those parts of bytes that may be text, as part of the same layer."""
    found = Draft()
    for match in _PRINTABLE.finditer(parent.text):
        found.begin(match.start())
        found.keep(parent.text, match.end())
    return DecodedText.of(found, parent, 0)


def _runs(places: bytes, pattern: re.Pattern[bytes], size: int) -> Iterator[Stretch]:
    """Yield the runs of groups of ``size`` bytes; ``places`` has a one where a group begins."""
    for offset in range(size):
        for match in pattern.finditer(places[offset::size]):
            yield Stretch(offset + match.start() * size, offset + match.end() * size)


def _add_base64(found: Draft, text: bytes, groups: bytes) -> None:
    for start, stop in _runs(groups, _GROUPS, 4):
        start = start - 4 if start >= 4 else start  # noqa: PLW2901 - the groups at the edges are text in part
        digits = text[start : stop + 4].translate(_DIGITS_64)
        decoded = a2b_base64(digits + b"/" * (-len(digits) % 4))
        found.begin(start)
        found.put(decoded, start, start + len(decoded) // 3 * 4, whole=False)


def _add_hex(found: Draft, lowered: bytes, pairs: bytes) -> None:
    blocks = range(0, len(lowered), _BLOCK_BYTES)
    counts = [len(lowered[at : at + _BLOCK_BYTES].translate(None, _NO_DIGITS_16)) for at in blocks]
    ends = list(accumulate(counts))
    for first, last in _runs(pairs, _PAIRS, 2):
        block = bisect_right(ends, first)
        before, begin = (ends[block - 1] if block else 0), block * _BLOCK_BYTES
        end = (bisect_left(ends, last) + 1) * _BLOCK_BYTES
        are_digits = lowered[begin:end].translate(_IS_DIGIT_16)
        places = list(islice(compress(range(begin, end), are_digits), first - before, last - before))
        decoded = bytes.fromhex(bytes(map(lowered.__getitem__, places)).decode())
        found.begin(places[0])
        if places[-1] - places[0] == len(places) - 1:
            found.put(decoded, places[0], places[-1] + 1, whole=False)
            continue
        found.put_each(decoded, [(places[at], places[at + 1] + 1) for at in range(0, len(places), 2)])


def _add_wide(found: Draft, text: bytes) -> None:
    for match in _WIDE.finditer(text):
        width = len(match[0]) - len(match[0][1:].lstrip(b"\0"))
        found.begin(match.start())
        decoded, last = match[0][::width], match.end() - 1
        found.put(decoded[:-1], match.start(), last, whole=False)
        found.put(decoded[-1:], last, last + 1)


def _add_decimals(found: Draft, text: bytes) -> None:
    for run in _DECIMALS.finditer(text):
        found.begin(run.start())
        numbers = list(_DECIMAL.finditer(text, *run.span()))
        found.put_each(bytes(int(match[0]) for match in numbers), [match.span() for match in numbers])
    for run in _INDEXED.finditer(text):
        numbers = list(_DECIMAL.finditer(text, *run.span()))
        if int(numbers[2][0]) != int(numbers[0][0]) + 1:
            continue  # a list whose numbers stand between separators, which is read above
        found.begin(run.start())
        values = numbers[1::2]
        found.put_each(bytes(int(match[0]) for match in values), [match.span() for match in values])


def _add_dump(found: Draft, text: bytes) -> None:
    end = -1
    for match in _DUMPED.finditer(text):
        if match.start() != end:
            found.begin(match.start())
        end = match.end()
        stop = end - match[0].endswith((GAP, SEPARATOR))
        found.put(bytes.fromhex(match[1].replace(b"+", b" ").decode()), match.start(), stop)
