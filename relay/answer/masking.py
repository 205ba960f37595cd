"""Masks secrets and endpoint addresses in answers (security.md, "Hiding").

This stops echoes: a service that returns every header it got, or its own URL. It cannot stop an endpoint that
re-encodes a secret on purpose. A mask belongs to one revision of a registration: make it once, keep it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate, count
from typing import TYPE_CHECKING, Any, Final, Self

from relay.answer.decoded_text import SEPARATOR, Stretch
from relay.answer.needles import Needle, forms_of, needles_of, needles_of_texts
from relay.answer.search import Search
from relay.registration.header_rules import MIN_MASKED_LENGTH

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from relay.registration import Shape, Target

REPLACEMENT: Final = "[redacted]"
_REPLACEMENT_BYTES: Final = REPLACEMENT.encode()
# A needle that may be part of a JSON number (RFC 8259), which is not a string after parsing.
_IN_NUMBER: Final = re.compile(r"-?[0-9]*\.?[0-9]*(?:e[-+]?[0-9]*)?\Z")


class Mask:
    """Hides needles in answers. Hits that overlap are replaced together by one ``REPLACEMENT`` and count as one.

    Its methods raise `TooMuchWork` for a text that was not searched to the end.
    """

    __slots__ = ("_needles", "_search", "hides_numbers")

    def __init__(self, needles: Collection[Needle]) -> None:
        self._needles = frozenset(needles)
        forms = {form for needle in needles for form in forms_of(needle) if form not in _REPLACEMENT_BYTES}
        self._search = Search(self._needles, forms)
        #: Whether a JSON number may have to be hidden.
        self.hides_numbers = any(_IN_NUMBER.match(needle.text.lower()) for needle in needles)

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

    def shows(self, raw: bytes) -> bool:
        """Return whether a needle occurs, without undoing encodings."""
        return self._search.occur(raw)

    def hits(self, raw: bytes, *, is_text: bool = True) -> int:
        """Count the places that would be hidden."""
        return len(self._search.spans(raw, is_text=is_text))

    def text(self, text: str) -> tuple[str, int]:
        """Return the text with every hit replaced, and the number of hits."""
        if len(text) < MIN_MASKED_LENGTH:
            return text, 0
        raw = text.encode("utf-8", "surrogatepass")
        spans = self._search.spans(raw)
        return (_replaced(raw, spans).decode("utf-8", "surrogatepass"), len(spans)) if spans else (text, 0)

    def value(self, value: Any) -> tuple[Any, int]:
        """Return a JSON value with every hit in its strings, keys and numbers replaced, and the number of hits.

        Keys that become equal stay apart: the second is ``[redacted] 2`` and so on. A number becomes a string.
        """
        texts = [text.encode("utf-8", "surrogatepass") for text in _texts(value)]
        spans = self._search.spans(SEPARATOR.join(texts))
        return _rebuilt(value, _masked_texts(texts, spans), count()) if spans else (value, 0)


def _texts(value: Any) -> Iterator[str]:
    """Yield every string, key and number of a value, in order."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            for key, inner in reversed(item.items()):
                pending += (inner, key)
        elif isinstance(item, list):
            pending += reversed(item)
        elif isinstance(item, int | float) and not isinstance(item, bool):
            yield repr(item)


def _replaced(raw: bytes, spans: list[Stretch]) -> bytes:
    pieces: list[bytes] = []
    end = 0
    for start, stop in spans:
        pieces += (raw[end:start], _REPLACEMENT_BYTES)
        end = stop
    return b"".join((*pieces, raw[end:]))


def _masked_texts(texts: list[bytes], spans: list[Stretch]) -> dict[int, tuple[str, int]]:
    """Mask the joined texts that contain spans; return the masked text and the number of hits of each, by its index."""
    ends = list(accumulate(len(text) + len(SEPARATOR) for text in texts))
    inside: dict[int, list[Stretch]] = {}
    for start, stop in spans:
        for number in range(bisect_right(ends, start), bisect_right(ends, stop - 1) + 1):
            size = len(texts[number])
            begin = ends[number] - size - len(SEPARATOR)
            part = Stretch(max(0, start - begin), min(size, stop - begin))
            if part.start < part.stop:
                inside.setdefault(number, []).append(part)
    return {
        number: (_replaced(texts[number], parts).decode("utf-8", "surrogatepass"), len(parts))
        for number, parts in inside.items()
    }


def _rebuilt(value: Any, masked: dict[int, tuple[str, int]], numbers: Iterator[int]) -> tuple[Any, int]:
    """Return the value with its texts replaced as in ``masked``, and the number of hits."""
    if isinstance(value, str):
        return masked.get(next(numbers), (value, 0))
    if isinstance(value, list):
        items = [_rebuilt(item, masked, numbers) for item in value]
        return [item for item, _ in items], sum(hits for _, hits in items)
    if isinstance(value, dict):
        return _rebuilt_object(value, masked, numbers)
    if isinstance(value, int | float) and not isinstance(value, bool) and next(numbers) in masked:
        return REPLACEMENT, 1
    return value, 0


def _rebuilt_object(
    value: dict[str, Any], masked: dict[int, tuple[str, int]], numbers: Iterator[int]
) -> tuple[dict[str, Any], int]:
    taken = set(value)
    rebuilt: dict[str, Any] = {}
    total = 0
    for key, item in value.items():
        name, in_name = masked.get(next(numbers), (key, 0))
        if in_name:
            name = _unused(name, taken)
            taken.add(name)
        rebuilt[name], in_item = _rebuilt(item, masked, numbers)
        total += in_name + in_item
    return rebuilt, total


def _unused(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name} {number}"
    return candidate
