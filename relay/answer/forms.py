"""Finds any of many byte strings in one pass (Aho-Corasick), a piece at a time.

The search holds Python's lock; in pieces it blocks other threads for a few milliseconds at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: How many bytes are searched at once.
PIECE_BYTES: Final = 64 * 1024


class FormSearch:
    """Looks for forms in lower-cased bytes."""

    __slots__ = ("_automaton", "_overlap")

    def __init__(self, forms: Iterable[bytes]) -> None:
        patterns = sorted(forms)
        # A contiguous NFA is at worst half as fast as a DFA, at a fraction of its size.
        self._automaton = BytesAhoCorasick(
            patterns, matchkind=MatchKind.Standard, implementation=Implementation.ContiguousNFA
        )
        self._overlap = max(map(len, patterns), default=1) - 1

    def occur(self, lowered: bytes) -> bool:
        """Return whether any form occurs."""
        if len(lowered) <= PIECE_BYTES:  # nearly always
            return bool(self._automaton.find_matches_as_indexes(lowered))
        return any(self._automaton.find_matches_as_indexes(piece) for _, piece in self._pieces(lowered))

    def spans(self, lowered: bytes, most: int) -> list[tuple[int, int]] | None:
        """Return the spans of all forms, also of overlapping ones; None if there are more than ``most``."""
        found: list[tuple[int, int]] = []
        for begin, piece in self._pieces(lowered):
            matches = self._automaton.find_matches_as_indexes(piece, overlapping=True)
            found += [(begin + start, begin + stop) for _, start, stop in matches]
            if len(found) > most:
                return None
        return found

    def _pieces(self, lowered: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield each piece and where it begins; pieces overlap, so that every form is whole in one of them."""
        step = max(PIECE_BYTES, self._overlap)
        for begin in range(0, len(lowered), step):
            yield begin, lowered[begin : begin + step + self._overlap]
