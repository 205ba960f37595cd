"""Signs new entries of a trail, puts old ones into segments, and drops those past their retention.

One worker at a time signs. Before it signs, it checks the entries that are signed already, by the last checkpoint and
by the one that it remembers. If they were changed, it records the change in the next checkpoint that it signs. A
restore from a backup, which a new epoch tells, is no change.
"""

from __future__ import annotations

import logging
import time
from itertools import takewhile
from typing import TYPE_CHECKING, Final, Self

from relay.audit.checkpoint import NOTHING, Breach, Checkpoint, Signed, beginning_members, tag_of, tags_in
from relay.audit.entry import entry_from
from relay.audit.signing_keys import AuditSigner
from relay.audit.verifying import CUT, FORGED, LOST, first_difference
from relay.errors import Unavailable
from relay.store.backups.epoch import Phase
from relay.store.server.availability import going_on_without
from relay.store.trail.trail import checkpoint_in
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from relay.settings import Settings
    from relay.store.backups.epoch import Epoch, Epochs
    from relay.store.trail.trail import Trail, TrailEnd

#: Seconds between two signatures; changes of younger entries cannot be detected.
PERIOD_S: Final = 2.0
#: A segment is made when the entries reach this number or these bytes, or when the oldest reaches this age.
SEGMENT_ENTRIES: Final = 512
SEGMENT_BYTES: Final = 64 * 1024
SEGMENT_AGE_MS: Final = 10 * 60 * 1000
#: How many seconds one iteration goes on if there is more to sign.
_ITERATION_S: Final = 0.5
_PRUNING_S: Final = 60.0
_PRUNED: Final = 64  # segments that one iteration drops
_TRIMMED: Final = 2_000  # entries that one iteration drops of a trail that is not signed
_SAID_S: Final = 60.0  # between two events that name the head, so that the logs have it too


class Checkpointing:
    """Signs one trail for one worker process; the ``retention_ms`` of a segment count from when it was made."""

    def __init__(
        self, trail: Trail, epochs: Epochs, signer: AuditSigner | None, process: str, *, retention_ms: int
    ) -> None:
        self._trail = trail
        self._epochs = epochs
        self._epoch: Epoch | None = None  # as it was read last
        self._signer = signer
        self._process = process
        self._retention_ms = retention_ms
        self._known: Checkpoint | None = None  # the newest that this process has signed or seen
        self._server = ""  # the one that had it
        self._pruned_s = -_PRUNING_S
        self._said_s = -_SAID_S

    @classmethod
    def with_settings(cls, trail: Trail, epochs: Epochs, settings: Settings, process: str) -> Self:
        """Make it as the settings say; without a key in them, nothing is signed."""
        signer = None if settings.audit_key is None else AuditSigner(settings.audit_key.reveal())
        return cls(trail, epochs, signer, process, retention_ms=settings.audit_retention_s * 1000)

    def iterate(self) -> None:
        """Sign new entries, if this process holds the lock of the trail."""
        if self._read_epoch().phase is Phase.COPYING or not self._trail.take_lock(self._process):
            return
        if self._signer is None:
            self._trim()
            return
        until_s = time.monotonic() + _ITERATION_S
        while self._step(self._signer) and time.monotonic() < until_s:
            pass
        if time.monotonic() - self._pruned_s >= _PRUNING_S:
            self._prune(self._signer)
            self._pruned_s = time.monotonic()
        self._say()

    def _read_epoch(self) -> Epoch:
        """Read the epoch; while the shared keys are silent, return the one that was read last."""
        try:
            with going_on_without():
                epoch = self._epochs.read()
        except Unavailable:
            if self._epoch is None:
                raise
            return self._epoch
        if self._epoch and epoch.number > self._epoch.number:
            self._known = None  # the store was restored: what this process remembers of it is gone
        self._epoch = epoch
        return epoch

    def _trim(self) -> None:
        """Drop the entries of an unsigned trail that are past their retention, once the oldest one is."""
        if not self._count_old(self._trail.end(1)):
            return
        end = self._trail.end(_TRIMMED)
        if count := self._count_old(end):
            self._trail.trim(end.entries[0], count)

    def _count_old(self, end: TrailEnd) -> int:
        """Count the first entries that are past their retention."""
        least_ms = end.now_ms - self._retention_ms
        entries = map(entry_from, end.entries)
        return sum(1 for _ in takewhile(lambda entry: entry is not None and entry.at_ms <= least_ms, entries))

    def _step(self, signer: AuditSigner) -> bool:
        """Sign the next entries; return whether there are more to sign."""
        server, end = self._trail.server(), self._trail.confirmed_end(SEGMENT_ENTRIES)
        base = _base(end, signer, self._trail.name)
        if base is None:
            self._say_unsigned()
            self._trim()  # nothing else drops them
            return False
        signed = _head(end, signer, self._trail.name)
        breach = self._breach(end, base, signed, server)
        if breach is not None and (signed is None or signed.breach != breach):
            event(Event.AUDIT_BREACH, level=logging.ERROR, trail=self._trail.name, seq=breach.seq, what=breach.what)
        entries, is_full = _for_segment(end)
        made = Checkpoint.over(base[0] + 1, base[1], entries, end.now_ms, breach)
        if signed is not None and (signed.last, signed.head, signed.breach) == (made.last, made.head, breach):
            is_new = False
        else:
            is_new = bool(end.entries) or breach is not None
        point = Signed.by(signer, made.members(self._trail.name, signer.key_id))
        if entries and (is_full or _is_old(end)):
            done = self._trail.archive(end, point, entries)
        else:
            done = not is_new or self._trail.sign(end, point)
        if done and (is_new or entries):
            self._known, self._server = made, server
        return end.more or len(entries) < len(end.entries)

    def _breach(self, end: TrailEnd, base: tuple[int, bytes], signed: Checkpoint | None, server: str) -> Breach | None:
        """Return the first change of signed entries, if any; one that the last checkpoint records stays recorded."""
        if signed is not None and signed.breach is not None and signed.first == base[0] + 1:
            return signed.breach
        if end.head and signed is None:
            return Breach(base[0] + 1, FORGED)
        if signed is not None and (found := _changed(signed, end, base)) is not None:
            return found
        if self._known is None or (found := _changed(self._known, end, base)) is None:
            return None
        took_over = server != self._server and "" not in {server, self._server}
        return Breach(found.seq, LOST) if took_over and _is_cut_off(self._known, end, base[0], found) else found

    def _prune(self, signer: AuditSigner) -> None:
        """Drop segments that are past their retention, and sign the trail's new beginning."""
        end = self._trail.end(1)
        count, follows = self._count_old_segments(signer, end)
        if follows is not None:
            members = beginning_members(self._trail.name, follows.last + 1, follows.head, end.now_ms, signer.key_id)
            if self._trail.prune(end.beginning, Signed.by(signer, members), count):
                event(Event.AUDIT_PRUNED, trail=self._trail.name, segments=count, before=follows.last + 1)

    def _count_old_segments(self, signer: AuditSigner, end: TrailEnd) -> tuple[int, Checkpoint | None]:
        """Count the first segments, up to the last that is past its retention; return that one's checkpoint, too.

        Only what a known key has signed tells its age; what others put between such segments is as old as these.
        """
        found: tuple[int, Checkpoint | None] = 0, None
        for count, segment in enumerate(self._trail.every_segment(), 1):
            signed = checkpoint_in(segment)
            point = signed.checkpoint() if signed.is_by(signer.public, self._trail.name) else None
            if point is not None and point.at_ms > end.now_ms - self._retention_ms:
                break
            if point is not None:
                found = count, point
            if found[0] and count >= _PRUNED:
                break
        return found

    def _say_unsigned(self) -> None:
        """Log that nothing more is signed until an operator has looked: it would build on what no known key signed."""
        if time.monotonic() - self._said_s >= _SAID_S:
            self._said_s = time.monotonic()
            event(Event.AUDIT_BREACH, level=logging.ERROR, trail=self._trail.name, what=FORGED)

    def _say(self) -> None:
        """Log the head from time to time, where an attacker who can write to the server cannot change it."""
        if self._known is not None and time.monotonic() - self._said_s >= _SAID_S:
            self._said_s = time.monotonic()
            event(Event.AUDIT_SIGNED, trail=self._trail.name, seq=self._known.last, head=self._known.head.hex())


def _base(end: TrailEnd, signer: AuditSigner, trail: str) -> tuple[int, bytes] | None:
    """Return number and head of the last entry that was put into a segment; None if no known key has signed them."""
    if end.last_segment:
        signed = checkpoint_in(end.last_segment)
        point = signed.checkpoint() if signed.is_by(signer.public, trail) else None
        return None if point is None else (point.last, point.head)
    if end.beginning:
        begins = Signed.from_bytes(end.beginning)
        found = begins.beginning() if begins is not None and begins.is_by(signer.public, trail) else None
        return None if found is None else (found[0] - 1, found[1])
    return 0, NOTHING


def _head(end: TrailEnd, signer: AuditSigner, trail: str) -> Checkpoint | None:
    """Return the checkpoint over the newest entries, if a known key has signed it."""
    signed = Signed.from_bytes(end.head) if end.head else None
    return signed.checkpoint() if signed is not None and signed.is_by(signer.public, trail) else None


def _for_segment(end: TrailEnd) -> tuple[list[bytes], bool]:
    """Return the entries to sign, and whether they fill a segment: those that follow make the next one."""
    size = 0
    for count, entry in enumerate(end.entries, 1):
        size += len(entry)
        if size >= SEGMENT_BYTES:
            return end.entries[:count], True
    return end.entries, end.more or len(end.entries) >= SEGMENT_ENTRIES


def _is_old(end: TrailEnd) -> bool:
    oldest = entry_from(end.entries[0])
    return oldest is None or end.now_ms - oldest.at_ms >= SEGMENT_AGE_MS


def _is_cut_off(point: Checkpoint, end: TrailEnd, archived: int, breach: Breach) -> bool:
    """Return whether the entries have nothing that was signed from a breach on: they end there, or go on otherwise."""
    gone = tags_in(point.tags)[max(0, breach.seq - point.first) :]
    found = end.entries[max(0, breach.seq - archived - 1) :]
    return breach.what != FORGED and not {tag_of(entry) for entry in found}.intersection(gone)


def _changed(point: Checkpoint, end: TrailEnd, base: tuple[int, bytes]) -> Breach | None:
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
