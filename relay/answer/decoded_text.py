"""Holds what an answer becomes when encodings are undone, and where each byte of it came from."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Stands between texts that are searched together. UTF-8 has no such byte.
SEPARATOR: Final = b"\xff"
#: Stands between parts of a text that do not belong together. UTF-8 has no such byte either.
GAP: Final = b"\xfe"
#: An edit costs about as much time as searching so many bytes.
_BYTES_PER_EDIT: Final = 64


class Stretch(NamedTuple):
    """The bytes from ``start`` to before ``stop``."""

    start: int
    stop: int


class DecodedText:
    """A text that was under some layers of encodings; the answer itself is one that was under none."""

    __slots__ = ("_draft", "_parent", "layers", "lowered", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        #: The text in lower case, as needles are.
        self.lowered = text.lower()
        #: How many layers of encodings were undone.
        self.layers = 0
        self._parent: DecodedText | None = None
        self._draft: Draft | None = None

    @classmethod
    def of(cls, draft: Draft, parent: DecodedText, layers: int) -> DecodedText:
        """Return what was drafted from a text by undoing ``layers`` more layers."""
        made = cls(b"".join(draft.parts))
        made.layers = parent.layers + layers
        made._parent, made._draft = parent, draft
        return made

    @property
    def work(self) -> int:
        """What making and searching this text costs, in bytes that are searched."""
        return len(self.text) + (_BYTES_PER_EDIT * len(self._draft.edits) if self._draft else 0)

    def news(self, spans: Iterable[Stretch]) -> Iterator[Stretch]:
        """Yield those of the spans that undoing the last layer has changed, at least in part."""
        if self._draft is None or not self.layers:
            yield from spans
            return
        edits = [(start, stop) for start, stop, first, last, _ in self._draft.edits if first < last]
        stops = [stop for _, stop in edits]
        for span in spans:
            number = bisect_left(stops, span.start)
            if number < len(edits) and edits[number][0] <= span.stop:
                yield span

    def origins(self, spans: Iterable[Stretch]) -> Iterable[Stretch]:
        """Map spans of this text to those of the answer."""
        text = self
        while text._parent is not None and text._draft is not None:
            spans = list(text._draft.origins(spans))
            text = text._parent
        return spans


class Draft:
    """Collects the parts of a decoded text, and where they came from.

    An edit is a part that is not the same in the original: its start and stop, those of its original, and whether each
    byte of it stands for all of the original (and not for its proportional part).
    """

    __slots__ = ("_end", "_size", "_spans", "edits", "parts")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.edits: list[tuple[int, int, int, int, bool]] = []
        self._spans: dict[int, list[tuple[int, int]]] = {}  # by the number of their edit
        self._size = 0
        self._end = 0  # the original has been taken over up to here

    def begin(self, start: int) -> None:
        """Begin a part that does not continue the one before, at this place of the original."""
        self.put(GAP, start, start)

    def keep(self, original: bytes, stop: int) -> None:
        """Take over the original, from where the last part ended."""
        if stop > self._end:
            self.parts.append(original[self._end : stop])
            self._size += stop - self._end
            self._end = stop

    def put(self, decoded: bytes, start: int, stop: int, *, whole: bool = True) -> None:
        """Add what this part of the original stands for."""
        size = self._size
        self._size += len(decoded)
        self.parts.append(decoded)
        self.edits.append((size, self._size, start, stop, whole))
        self._end = stop

    def put_each(self, decoded: bytes, spans: list[tuple[int, int]]) -> None:
        """Add bytes of which each stands for a span of its own.

        They are one edit, and cost no more than one: long lists of small numbers are ordinary answers.
        """
        self.put(decoded, spans[0][0], spans[-1][1])
        self._spans[len(self.edits) - 1] = spans

    def origins(self, spans: Iterable[Stretch]) -> Iterator[Stretch]:
        """Map spans of the drafted text to those of the original."""
        starts = [edit[0] for edit in self.edits]
        for start, stop in spans:
            first, last = self._origin(starts, start), self._origin(starts, stop - 1)
            yield Stretch(min(first.start, last.start), max(first.stop, last.stop))  # parts may stand in any order

    def _origin(self, starts: list[int], place: int) -> Stretch:
        number = bisect_right(starts, place) - 1  # not before the first edit: every draft begins with one
        start, stop, from_start, from_stop, whole = self.edits[number]
        if place >= stop:
            return Stretch(from_stop + place - stop, from_stop + place - stop + 1)
        if number in self._spans:
            return Stretch(*self._spans[number][place - start])
        if whole:
            return Stretch(from_start, from_stop)
        before, length, size = place - start, from_stop - from_start, stop - start
        return Stretch(from_start + before * length // size, from_start - (before + 1) * length // -size)
