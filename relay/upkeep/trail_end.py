"""Reads the signed part of a trail's end, and says how entries differ from what was signed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.audit.checkpoint import NOTHING, Breach, Checkpoint, Signed, tag_of, tags_in
from relay.audit.verifying import CUT, FORGED, first_difference
from relay.store.trail.trail import checkpoint_in

if TYPE_CHECKING:
    from relay.audit.signing_keys import AuditSigner
    from relay.store.trail.trail import TrailEnd


@dataclass(frozen=True, slots=True)
class Read:
    """A checkpoint that a known key has signed."""

    signed: Signed
    point: Checkpoint

    @classmethod
    def of(cls, signed: Signed, signer: AuditSigner, trail: str) -> Read | None:
        """Return it as it was read; None if no known key has signed it."""
        point = signed.checkpoint() if signed.is_by(signer.public, trail) else None
        return None if point is None else cls(signed, point)


@dataclass(frozen=True, slots=True)
class Remembered(Read):
    """The same, with the id of the server's run that had it."""

    server: str


def base_of(end: TrailEnd, signer: AuditSigner, trail: str) -> tuple[int, bytes] | None:
    """Return the number and head of the last entry put into a segment; None if no known key has signed them."""
    if end.last_segment:
        read = last_segment_of(end, signer, trail)
        return None if read is None else (read.point.last, read.point.head)
    if end.beginning:
        begins = Signed.from_bytes(end.beginning)
        found = begins.beginning() if begins.is_by(signer.public, trail) else None
        return None if found is None else (found[0] - 1, found[1])
    return 0, NOTHING


def last_segment_of(end: TrailEnd, signer: AuditSigner, trail: str) -> Read | None:
    """Return the checkpoint of the newest segment, if there is one and a known key has signed it."""
    return Read.of(checkpoint_in(end.last_segment), signer, trail)


def is_cut_off(point: Checkpoint, end: TrailEnd, archived: int, breach: Breach) -> bool:
    """Return whether nothing signed is left from a breach on: the entries end there, or others follow."""
    gone = tags_in(point.tags)[max(0, breach.seq - point.first) :]
    found = end.entries[max(0, breach.seq - archived - 1) :]
    return breach.what != FORGED and not {tag_of(entry) for entry in found}.intersection(gone)


def change_since(point: Checkpoint, end: TrailEnd, base: tuple[int, bytes]) -> Breach | None:
    """Return how the entries that are not in a segment differ from a checkpoint; None if they do not."""
    archived, head = base
    if point.last == archived and point.head != head:
        return Breach(point.last, FORGED)
    if point.last <= archived:
        return None  # they were signed again, in a segment
    if point.first <= archived < point.last and point.first != archived + 1:
        tags = tags_in(point.tags)[archived + 1 - point.first :]
    elif point.first == archived + 1:
        tags = tags_in(point.tags)
    else:
        return Breach(archived + len(end.entries) + 1, CUT)
    found = [tag_of(entry) for entry in end.entries]
    difference = first_difference(found, tags, may_go_on=True)
    return None if difference is None else Breach(archived + 1 + difference[0], difference[1])
