"""Finds needles in an answer, also under several layers of encodings.

The answer is searched, then every text that it becomes when one kind of encoding is undone, and so on. Hits are mapped
to where they came from. So a few decoders find needles however encoders are combined.

Long answers are searched a slice at a time: each step holds Python's lock for some milliseconds at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from relay.answer.decoded_text import DecodedText, Stretch
from relay.answer.escapes import BREAKS, DOUBLED_QUOTES, KINDS, merged, undone
from relay.answer.needles import anchor_of
from relay.answer.packings import printable, unpacked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from relay.answer.needles import Needle

#: How many layers of encodings are undone, such as HTML of a percent-encoded query in base64.
MAX_LAYERS: Final = 3
#: How many bytes are looked at for each byte of an answer, and at least, at some 25 ns each.
WORK_PER_BYTE: Final = 16
MIN_WORK: Final = 4 << 20
#: An answer that contains more forms than this is no echo and not worth the search: all of it is hidden.
MAX_HITS: Final = 32_768
#: How long an encoded character may be, on average over a needle; half that if letters and digits are not encoded.
ENCODED_CHARACTER_BYTES: Final = 24
#: How many bytes are searched at once, and how many more at most, which are searched again with the next.
SLICE_BYTES: Final = 64 * 1024
MAX_OVERLAP_BYTES: Final = 192 * 1024


class TooMuchWork(Exception):
    """An answer has so many layers of encodings that it was not searched to the end."""


class Search:
    """Looks for needles. Reusable, and safe to use from several threads."""

    __slots__ = ("_anchors", "_everywhere", "_forms", "_kinds", "_no_marks", "_reach")

    def __init__(self, needles: Collection[Needle], forms: Iterable[bytes]) -> None:
        anchors = {anchor_of(needle) for needle in needles if needle.raw is None}  # bytes are never partly escaped
        self._forms = _automaton(forms)
        self._anchors = _automaton(anchor for anchor in anchors if anchor)
        # Whether a needle has no anchor, so that escapes have to be undone wherever they are.
        self._everywhere = None in anchors
        longest = max((len(needle.text) for needle in needles), default=0)
        self._reach = min(ENCODED_CHARACTER_BYTES * longest, MAX_OVERLAP_BYTES)
        doubled = (kind for kind in DOUBLED_QUOTES if any(kind.mark[:1].decode() in needle.text for needle in needles))
        self._kinds = (*KINDS, *doubled, *BREAKS)
        marks = b"".join(kind.mark for kind in self._kinds)
        self._no_marks = bytes(byte for byte in range(256) if byte not in marks)

    def occur(self, raw: bytes) -> bool:
        """Return whether a needle occurs, without undoing encodings."""
        step = SLICE_BYTES + self._reach
        slices = (raw[begin : begin + step].lower() for begin in range(0, len(raw), SLICE_BYTES))
        return any(self._forms.find_matches_as_indexes(each) for each in slices)

    def spans(self, raw: bytes, *, is_text: bool = True) -> list[Stretch]:
        """Return the spans of all needles, in order and without overlaps.

        Raises:
            TooMuchWork: what encodings hide was not searched to the end.
        """
        found: list[Stretch] = []
        work = MIN_WORK + WORK_PER_BYTE * len(raw)
        for begin in range(0, len(raw), SLICE_BYTES):
            # Slices overlap, so that every needle is whole in one of them, however it is encoded.
            answer = DecodedText(raw[begin : begin + SLICE_BYTES + self._reach])
            found += self._hits(answer, begin)
            texts = [answer if is_text else printable(answer)]
            seen = {answer.text}
            for text in texts:
                for further in self._undone(text) if text.layers < MAX_LAYERS else ():
                    if further.text in seen:
                        continue
                    work -= further.work
                    if work < 0:
                        raise TooMuchWork
                    seen.add(further.text)
                    texts.append(further)
                    found += self._hits(further, begin)
            if len(found) > MAX_HITS:
                return [Stretch(0, len(raw))]
        return merged(found) if found else found

    def _hits(self, text: DecodedText, begin: int) -> list[Stretch]:
        matches = self._forms.find_matches_as_indexes(text.lowered, overlapping=True)
        if not matches:  # nearly always
            return []
        spans = text.origins(merged(Stretch(start, stop) for _, start, stop in matches))
        return [Stretch(begin + start, begin + stop) for start, stop in spans]

    def _undone(self, text: DecodedText) -> list[DecodedText]:
        """Return every text that a text becomes when one kind of encoding is undone."""
        found: list[DecodedText] = []
        if text.text.translate(None, self._no_marks):  # seldom
            kinds = [kind for kind in self._kinds if kind.mark in text.text]
            near = self._near(text) if kinds else []
            each = (undone(text, kind, near if kind.layers else []) for kind in kinds)
            found += (made for made in each if made is not None)
        packed = unpacked(text)
        if packed is not None:
            found.append(packed)  # last, because it is clearer where escapes begin
        return found

    def _near(self, text: DecodedText) -> list[Stretch]:
        """Return where escapes may be within a needle whose longest run of letters and digits is unchanged."""
        if self._everywhere or b"\0" in text.text:  # in UTF-16 no run is unchanged
            return [Stretch(0, len(text.text))]
        anchors = self._anchors.find_matches_as_indexes(text.lowered, overlapping=True)
        reach = self._reach // 2
        return merged(Stretch(max(0, start - reach), stop + reach) for _, start, stop in anchors)


def _automaton(patterns: Iterable[bytes]) -> BytesAhoCorasick:
    # A contiguous NFA is at worst half as fast as a DFA, at a fraction of its size.
    return BytesAhoCorasick(sorted(patterns), matchkind=MatchKind.Standard, implementation=Implementation.ContiguousNFA)
