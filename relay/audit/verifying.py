"""Checks a trail from its beginning to its end, and names the first thing that is wrong. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relay.audit.checkpoint import NOTHING, head_after, tag_of, tags_in
from relay.audit.entry import entry_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from relay.audit.checkpoint import Checkpoint, Signed
    from relay.audit.signing_keys import PublicKeys

EDITED: Final = "edited"
REMOVED: Final = "removed"
INSERTED: Final = "inserted"
MOVED: Final = "moved"
FORGED: Final = "forged"
CUT: Final = "cut"
LOST: Final = "lost"
AWAY: Final = "away"
UNSIGNED: Final = "unsigned"
MISSING: Final = "missing"

#: For how long a trail may have entries and no checkpoint: workers sign every two seconds.
YOUNG_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Block:
    """Entries and the checkpoint over them. An open block may end with entries that are not signed yet."""

    entries: Sequence[bytes]
    signed: Signed | None
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Wrong:
    """The first thing that is wrong: the number of its entry, what happened to it, and a sentence."""

    seq: int
    what: str
    sentence: str


@dataclass(slots=True)
class Verification:
    """How far a trail was checked, and what was wrong; ``heads`` has the head after each entry that was asked for."""

    first: int = 1
    last: int = 0  # the last entry that is signed
    head: bytes = NOTHING
    unsigned: int = 0  # entries after it
    checkpoints: int = 0
    signed_at_ms: int | None = None  # when the last one was signed
    wrong: Wrong | None = None
    heads: dict[int, bytes] = field(default_factory=dict)


class TrailCheck:
    """Checks the blocks of the trail ``name``. ``known`` has heads from an earlier export, by the entry's number."""

    def __init__(
        self, name: str, keys: PublicKeys, begins: Signed | None, known: Mapping[int, bytes] | None = None
    ) -> None:
        self._name = name
        self._keys = keys
        self._known = known or {}
        self._unsigned_ms = 0  # between the first entry after the last checkpoint and the last one
        self.found = Verification()
        if begins is not None:
            self._begin(begins)

    def run(self, blocks: Iterable[Block]) -> Verification:
        """Check all blocks, up to the first thing that is wrong."""
        for block in blocks:
            if self.found.wrong is None:  # the other blocks are read all the same: the next trail comes after them
                self._take(block)
        if self.found.wrong is None:
            self._compare_with_known()
        found = self.found
        if found.wrong is None and found.unsigned and not found.checkpoints and self._unsigned_ms > YOUNG_MS:
            self._wrong(self.found.first, UNSIGNED, _SENTENCES[UNSIGNED])
        return self.found

    def _begin(self, begins: Signed) -> None:
        beginning = begins.beginning() if begins.is_by(self._keys, self._name) else None
        if beginning is None:
            self._wrong(1, FORGED, "The beginning of the trail is not signed by a known key.")
            return
        self.found.first, self.found.head = beginning
        self.found.last = self.found.first - 1

    def _take(self, block: Block) -> None:
        found = self.found
        if block.signed is None:
            found.unsigned = len(block.entries)
            ends = (*block.entries[:1], *block.entries[-1:])
            times_ms = [entry.at_ms for raw in ends if (entry := entry_from(raw))]
            self._unsigned_ms = max(times_ms, default=0) - min(times_ms, default=0)
            return
        first = found.last + 1
        point = block.signed.checkpoint() if block.signed.is_by(self._keys, self._name) else None
        if point is None:
            self._wrong(first, FORGED, f"The checkpoint that begins with entry {first} is not signed by a known key.")
        elif point.first != first or point.before != found.head:
            self._say_discontinuity(point)
        elif (difference := _difference(block, point)) is not None:
            index, what = difference
            self._wrong(first + index, what, f"Entry {first + index}: {_SENTENCES[what]}")
        else:
            self._go_on(block, point)

    def _go_on(self, block: Block, point: Checkpoint) -> None:
        found = self.found
        entries = block.entries[: point.last - point.first + 1]
        if head_after(found.head, entries) != point.head:
            what = f"One of the entries from {point.first} to {point.last} was edited."
            self._wrong(point.first, EDITED, what)
            return
        for index, entry in enumerate(entries):
            found.head = head_after(found.head, [entry])
            if point.first + index in self._known:
                found.heads[point.first + index] = found.head
        found.last, found.signed_at_ms = point.last, point.at_ms
        found.checkpoints += 1
        found.unsigned = len(block.entries) - len(entries)
        if point.breach is not None:
            seq = point.breach.seq
            said = _SENTENCES.get(point.breach.what, "it was changed.")
            self._wrong(seq, point.breach.what, f"Entry {seq}: {said} A worker found this and signed the finding.")

    def _say_discontinuity(self, point: Checkpoint) -> None:
        first = self.found.last + 1
        if point.first > first:
            gone = f"Entries {first} to {point.first - 1}" if point.first - 1 > first else f"Entry {first}"
            self._wrong(first, REMOVED, f"{gone}: {_SENTENCES[REMOVED]}")
        else:
            self._wrong(first, MOVED, f"Entry {first}: {_SENTENCES[MOVED]}")

    def _compare_with_known(self) -> None:
        found = self.found
        for seq, head in sorted(self._known.items()):
            if seq > found.last:
                self._wrong(found.last + 1, CUT, f"Entry {found.last + 1}: {_SENTENCES[CUT]}")
                return
            if seq in found.heads and found.heads[seq] != head:
                said = f"Entry {seq}, or one before it, differs from the earlier export."
                self._wrong(seq, EDITED, said)
                return

    def _wrong(self, seq: int, what: str, sentence: str) -> None:
        self.found.wrong = Wrong(seq, what, sentence)


_SENTENCES: Final = {
    EDITED: "it differs from the one that was signed.",
    REMOVED: "it was signed and is missing.",
    INSERTED: "it is among signed entries, but was not signed.",
    MOVED: "it is not in the place where it was signed.",
    FORGED: "its checkpoint is not signed by a known key.",
    LOST: "it was signed, and the server that took over, or came back, lacks it (RELAY_STORE_REPLICAS prevents that).",
    CUT: "an earlier export has it, but the trail ends before it.",
    UNSIGNED: (
        "No checkpoint covers its entries, so that nothing proves them. Workers that have RELAY_AUDIT_KEY sign every"
        " two seconds, and `relay audit export` writes their checkpoints: start a worker, or export again."
    ),
}


def _difference(block: Block, point: Checkpoint) -> tuple[int, str] | None:
    """Return the place of the first entry that is not as it was signed, and what happened to it."""
    count = point.last - point.first + 1
    expected = tags_in(point.tags)
    if len(expected) != count:
        return 0, FORGED
    entries = [tag_of(entry) for entry in (block.entries[: count + 1] if block.is_open else block.entries)]
    return first_difference(entries, expected, may_go_on=block.is_open)


def first_difference(found: Sequence[bytes], expected: Sequence[bytes], *, may_go_on: bool) -> tuple[int, str] | None:
    """Return where the tags first differ, and how; None if they do not. ``may_go_on`` allows ``found`` to be longer."""
    at = next((i for i, (here, there) in enumerate(zip(found, expected, strict=False)) if here != there), None)
    if at is None:
        if len(found) < len(expected):
            return len(found), REMOVED
        return None if may_go_on or len(found) == len(expected) else (len(expected), INSERTED)
    return at, _happened(found[at:], expected[at:])


def _happened(found: Sequence[bytes], expected: Sequence[bytes]) -> str:
    """Return what happened to two lists of tags whose first elements differ."""
    comes_later, stood_later = expected[0] in found, found[0] in expected
    if comes_later and stood_later:
        return MOVED
    if comes_later:
        return INSERTED if found[1] == expected[0] else MOVED
    return REMOVED if stood_later else EDITED
