"""Masks secrets and endpoint addresses in answers (security.md, "Hiding").

This stops echoes: a service that returns every header it got, or its own URL. It cannot stop an endpoint that
re-encodes a secret on purpose. A mask belongs to one revision of a registration: make it once, keep it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Self

from relay.answer.fillers import Squeezed
from relay.answer.forms import FormSearch
from relay.answer.needles import Needle, anchor_of, forms_of, needles_of, needles_of_texts
from relay.answer.unescaping import KINDS, NUMBERS, unescape
from relay.registration.header_rules import MIN_MASKED_LENGTH

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from relay.registration import Shape, Target

REPLACEMENT: Final = "[redacted]"
#: How long an escaped character may be, on average over a needle: ``&#x2f;``, ``\\u002f``, or that escaped once more.
ESCAPED_CHARACTER_BYTES: Final = 8
#: How many layers of escapes are undone, such as HTML of a percent-encoded query. Parsing JSON undoes one more.
MAX_LAYERS: Final = 2
#: An answer that contains more forms than this is no echo and not worth the search: all of it is hidden.
MAX_HITS: Final = 32_768
#: With more anchors than this, searching a window around each would cost more than searching the whole answer.
MAX_ANCHORS: Final = 4_096
_REPLACEMENT_BYTES: Final = REPLACEMENT.encode()
# A form that may be part of a JSON number (RFC 8259), which is not a string after parsing.
_IN_NUMBER: Final = re.compile(rb"-?[0-9]*\.?[0-9]*(?:e[-+]?[0-9]*)?\Z")
# Separates the texts of a value when they are searched together; no form contains it.
_SEPARATOR: Final = "\x00"


class Mask:
    """Finds all forms of all needles in one pass over lower-cased bytes (Aho-Corasick, time linear in the answer).

    If there are escapes, a second pass finds the needles' anchors; around each, escapes are undone and the forms
    searched again. If there are fillers, all of this is done once more without them. Overlapping matches are replaced
    together by one ``REPLACEMENT`` and count as one.
    """

    __slots__ = ("_anchors", "_everywhere", "_forms", "_needles", "_reach", "hides_numbers")

    def __init__(self, needles: Collection[Needle]) -> None:
        self._needles = frozenset(needles)
        forms = {form for needle in needles for form in forms_of(needle)}
        kept = {form for form in forms if form not in _REPLACEMENT_BYTES and _SEPARATOR.encode() not in form}
        anchors = {anchor_of(needle) for needle in needles if needle.raw is None}  # bytes are never partly escaped
        self._forms = FormSearch(kept)
        self._anchors = FormSearch(anchor for anchor in anchors if anchor)
        # Whether a needle has no anchor, so that escapes have to be undone wherever they are.
        self._everywhere = None in anchors
        self._reach = ESCAPED_CHARACTER_BYTES * max((len(needle.text) for needle in needles), default=0)
        #: Whether a JSON number may have to be hidden.
        self.hides_numbers = any(_IN_NUMBER.match(form) for form in kept)

    @classmethod
    def of(cls, shape: Shape, target: Target) -> Self:
        """Make the mask for answers to a registration, which takes milliseconds."""
        return cls(set(needles_of(shape, target)))

    @classmethod
    def of_all(cls, masks: Iterable[Mask]) -> Self:
        """Make one mask that hides what any of these hides."""
        return cls({needle for mask in masks for needle in mask._needles})  # noqa: SLF001 - of its own class

    def with_texts(self, texts: Iterable[str]) -> Mask:
        """Make a mask that also hides these texts, such as a token that a login returned."""
        further = frozenset(needles_of_texts(texts)) - self._needles
        return Mask(self._needles | further) if further else self

    def hits(self, raw: bytes) -> int:
        """Count the places that would be hidden."""
        return len(self._spans(raw))

    def shows(self, raw: bytes) -> bool:
        """Return whether the bytes contain a form, without undoing escapes."""
        return self._forms.occur(raw.lower())

    def suspects(self, raw: bytes) -> bool:
        """Return whether there could be anything to hide, also behind escapes; cheap, and seldom true."""
        lowered = raw.lower()
        if self._forms.occur(lowered) or self._escapes_near(lowered):
            return True
        squeezed = Squeezed(lowered, zeros=True).text
        return squeezed is not None and (self._forms.occur(squeezed) or self._escapes_near(squeezed))

    def raw(self, raw: bytes) -> tuple[bytes, int]:
        """Return the bytes with every hit replaced, and the number of hits."""
        spans = self._spans(raw)
        return (_replaced(raw, spans), len(spans)) if spans else (raw, 0)

    def text(self, text: str) -> tuple[str, int]:
        """Return the text with every hit replaced, and the number of hits."""
        if len(text) < MIN_MASKED_LENGTH:
            return text, 0
        masked, count = self.raw(text.encode("utf-8", "surrogatepass"))
        return (masked.decode("utf-8", "surrogatepass"), count) if count else (text, 0)

    def value(self, value: Any) -> tuple[Any, int]:
        """Return a JSON value with every hit in a string, key or number replaced, and the number of hits.

        Keys that become equal stay apart: the second is ``[redacted] 2`` and so on. A number becomes a string.
        """
        texts = list(self._texts(value))
        spans = self._spans(_SEPARATOR.join(texts).encode("utf-8", "surrogatepass"), zeros=False)
        masked = _masked_texts(texts, spans) if spans else {}
        masked |= {text: self.text(text) for text in texts if _SEPARATOR in text}
        return _rebuilt(value, masked) if masked else (value, 0)

    def _spans(self, raw: bytes, *, zeros: bool = True) -> list[tuple[int, int]]:
        """Return the spans to hide, in order and without overlaps. With ``zeros``, zero bytes are fillers."""
        lowered = raw.lower()
        spans = self._found(lowered)
        squeezed = Squeezed(lowered, zeros=zeros)
        if squeezed.text is not None:
            spans += squeezed.origins(self._found(squeezed.text))
        return _merged(spans)

    def _found(self, lowered: bytes) -> list[tuple[int, int]]:
        spans = self._forms.spans(lowered, MAX_HITS)
        if spans is None:
            return [(0, len(lowered))]
        if self._escapes_near(lowered):
            for start, stop in self._windows(lowered):
                window = lowered[start:stop]
                spans += [(start + first, start + last) for first, last in self._escaped_spans(window, MAX_LAYERS)]
        return spans

    def _escapes_near(self, lowered: bytes) -> bool:
        """Return whether there are escapes that could hide a needle."""
        if b"%" not in lowered and b"&" not in lowered and b"\\" not in lowered:
            return False
        return self._everywhere or self._anchors.occur(lowered) or bool(NUMBERS.search(lowered))

    def _windows(self, lowered: bytes) -> list[tuple[int, int]]:
        """Return the spans that may contain escaped needles: around anchors, and runs of HTML's numeric escapes."""
        anchors = None if self._everywhere else self._anchors.spans(lowered, MAX_ANCHORS)
        if anchors is None:
            return [(0, len(lowered))]
        around = [(max(0, start - self._reach), stop + self._reach) for start, stop in anchors]
        return _merged(around + [match.span() for match in NUMBERS.finditer(lowered)])

    def _escaped_spans(self, lowered: bytes, layers: int) -> list[tuple[int, int]]:
        """Return the spans of forms that stand under at most ``layers`` layers of escapes."""
        found: list[tuple[int, int]] = []
        for kind in KINDS:
            unescaped = unescape(lowered, kind)
            if unescaped is None:
                continue
            text, origins = unescaped
            spans = self._forms.spans(text, MAX_HITS)
            if spans is None:
                return [(0, len(lowered))]
            if layers > 1:
                spans += self._escaped_spans(text, layers - 1)
            found += [(origins[start], origins[stop]) for start, stop in spans]
        return found

    def _texts(self, value: Any) -> Iterator[str]:
        """Yield every string and key of a value, and its numbers if one may have to be hidden."""
        pending = [value]
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                yield item
            elif isinstance(item, dict):
                yield from item
                pending += item.values()
            elif isinstance(item, list):
                pending += item
            elif self.hides_numbers and isinstance(item, int | float):
                yield repr(item)


def _replaced(raw: bytes, spans: list[tuple[int, int]]) -> bytes:
    pieces: list[bytes] = []
    end = 0
    for start, stop in spans:
        pieces += (raw[end:start], _REPLACEMENT_BYTES)
        end = stop
    return b"".join((*pieces, raw[end:]))


def _masked_texts(texts: list[str], spans: list[tuple[int, int]]) -> dict[str, tuple[str, int]]:
    """Mask those of the joined texts in which spans lie; return for each its masked text and its number of hits."""
    raws = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = list(accumulate(len(raw) + len(_SEPARATOR) for raw in raws))
    inside: dict[int, list[tuple[int, int]]] = {}
    for start, stop in spans:
        for number in range(bisect_right(ends, start), bisect_right(ends, stop - 1) + 1):
            size = len(raws[number])
            begin = ends[number] - size - len(_SEPARATOR)
            inside.setdefault(number, []).append((max(0, start - begin), min(size, stop - begin)))
    return {
        texts[number]: (_replaced(raws[number], parts).decode("utf-8", "surrogatepass"), len(parts))
        for number, parts in inside.items()
    }


def _rebuilt(value: Any, masked: dict[str, tuple[str, int]]) -> tuple[Any, int]:
    """Return the value with its texts replaced as in ``masked``, and the number of hits."""
    if isinstance(value, str):
        return masked.get(value, (value, 0))
    if isinstance(value, list):
        items = [_rebuilt(item, masked) for item in value]
        return [item for item, _ in items], sum(count for _, count in items)
    if isinstance(value, dict):
        return _rebuilt_object(value, masked)
    if isinstance(value, int | float) and not isinstance(value, bool) and repr(value) in masked:
        return REPLACEMENT, 1
    return value, 0


def _rebuilt_object(value: dict[str, Any], masked: dict[str, tuple[str, int]]) -> tuple[dict[str, Any], int]:
    taken = {key for key in value if key not in masked}
    rebuilt: dict[str, Any] = {}
    total = 0
    for key, item in value.items():
        name, in_name = masked.get(key, (key, 0))
        if in_name:
            name = _unused(name, taken)
            taken.add(name)
        rebuilt[name], in_item = _rebuilt(item, masked)
        total += in_name + in_item
    return rebuilt, total


def _unused(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name} {number}"
    return candidate


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans in order, with overlapping ones joined."""
    merged: list[tuple[int, int]] = []
    ordered = sorted(spans)
    if not ordered:
        return merged
    start, stop = ordered[0]
    for first, last in ordered[1:]:
        if first < stop:
            stop = max(stop, last)
            continue
        merged.append((start, stop))
        start, stop = first, last
    merged.append((start, stop))
    return merged
