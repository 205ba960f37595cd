"""Signs new entries of a trail, puts old ones into segments, and drops those past their retention.

One worker at a time signs. Before it signs, it checks the entries that are already signed against the last checkpoint,
the one that it remembers, and those that other workers have published. If the entries have changed, it records this in
the next checkpoint that it signs. All other workers check them in the same way, and report what they find. A restore
from a backup, which a new epoch shows, is not a change.
"""

from __future__ import annotations

import logging
import time
from itertools import takewhile
from typing import TYPE_CHECKING, Final, Self

from relay.audit.checkpoint import Breach, Checkpoint, Signed, beginning_members, tag_of, tags_in
from relay.audit.entry import entry_from
from relay.audit.signing_keys import AuditSigner
from relay.audit.verifying import FORGED, LOST, first_difference
from relay.errors import Unavailable
from relay.store.backups.epoch import Phase
from relay.store.server.availability import going_on_without
from relay.store.trail.trail import checkpoint_in
from relay.telemetry.log import Event, event
from relay.upkeep.trail_end import Read, Remembered, base_of, change_since, is_cut_off, last_segment_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.settings import Settings
    from relay.store.backups.epoch import Epoch, Epochs
    from relay.store.trail.trail import Trail, TrailEnd

#: Seconds between two signatures; changes to entries younger than this cannot be detected.
PERIOD_S: Final = 2.0
#: A segment is made when the entries reach this number or these bytes, or when the oldest reaches this age.
SEGMENT_ENTRIES: Final = 512
SEGMENT_BYTES: Final = 64 * 1024
SEGMENT_AGE_MS: Final = 10 * 60 * 1000
#: How many seconds one iteration may take while there is more to sign.
_ITERATION_S: Final = 0.5
_PRUNING_S: Final = 60.0
_PRUNED: Final = 64  # segments that one iteration drops
_TRIMMED: Final = 2_000  # entries that one iteration drops of a trail that is not signed
_MOST_HEARD: Final = 256  # processes whose checkpoints are remembered
_SAID_S: Final = 60.0  # between two events that name the head, so that the logs have it too


class Checkpointing:
    """Signs one trail for one worker process; the ``retention_ms`` of a segment count from when it was made."""

    def __init__(
        self, trail: Trail, epochs: Epochs, signer: AuditSigner | None, process: str, *, retention_ms: int
    ) -> None:
        self._trail = trail
        self._epochs = epochs
        self._epoch: Epoch | None = None  # as it was last read
        self._signer = signer
        self._process = process
        self._retention_ms = retention_ms
        self._known: Remembered | None = None  # the newest checkpoint that this process has signed or seen
        self._heard: dict[str, Remembered] = {}  # by process: the newest checkpoint that it has signed or seen
        self._reported: Breach | None = None
        self._pruned_s = -_PRUNING_S
        self._said_s = -_SAID_S

    @classmethod
    def with_settings(cls, trail: Trail, epochs: Epochs, settings: Settings, process: str) -> Self:
        """Make it from the settings; if they have no key, nothing is signed."""
        signer = None if settings.audit_key is None else AuditSigner(settings.audit_key.reveal())
        return cls(trail, epochs, signer, process, retention_ms=settings.audit_retention_s * 1000)

    @property
    def epoch(self) -> int | None:
        """The epoch of the store that this process's memory belongs to; None before it is read."""
        return None if self._epoch is None else self._epoch.number

    @property
    def newest(self) -> tuple[Signed, str] | None:
        """The newest checkpoint that this process has signed or seen, and the id of the server's run that had it."""
        return None if self._known is None else (self._known.signed, self._known.server)

    def hear(self, process: str, signed: Signed, server: str) -> None:
        """Remember a checkpoint that another process has signed or seen, to check the trail against it."""
        read = None if self._signer is None else Read.of(signed, self._signer, self._trail.name)
        if read is not None:
            self._heard.pop(process, None)
            self._heard[process] = Remembered(read.signed, read.point, server)
            while len(self._heard) > _MOST_HEARD:
                del self._heard[next(iter(self._heard))]

    def iterate(self) -> None:
        """Sign new entries, if this process holds the lock of the trail; otherwise check those that are signed."""
        if self._read_epoch().phase is Phase.COPYING:
            return
        if not self._trail.take_lock(self._process):
            if self._signer is not None:
                self._look(self._signer)
            return
        if self._signer is None:
            self._trim()
            return
        until_s = time.monotonic() + _ITERATION_S
        while self._step(self._signer) and time.monotonic() < until_s:
            pass
        if time.monotonic() - self._pruned_s >= _PRUNING_S and not self._prune(self._signer):
            self._pruned_s = time.monotonic()  # not if there are more: a busy relay fills hundreds in a minute
        self._say()

    def _read_epoch(self) -> Epoch:
        """Read the epoch; while the shared keys are silent, return the last one that was read."""
        try:
            with going_on_without():
                epoch = self._epochs.read()
        except Unavailable:
            if self._epoch is None:
                raise
            return self._epoch
        if self._epoch and epoch.number > self._epoch.number:
            self._known = None  # the store was restored: what this process remembers no longer applies
            self._heard.clear()
        if not self._epoch or epoch.number >= self._epoch.number:
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

    def _look(self, signer: AuditSigner) -> None:
        """Check the signed entries, without the lock."""
        remembered = self._remembered()
        server, end = self._trail.server(), self._trail.end(SEGMENT_ENTRIES)
        base = base_of(end, signer, self._trail.name)
        if base is None:
            self._say_unsigned()
            return
        head = Read.of(Signed.from_bytes(end.head), signer, self._trail.name)
        breach = self._breach(end, base, head, server, remembered)
        self._report(breach, is_recorded=head is not None and head.point.breach == breach)
        newest = head or last_segment_of(end, signer, self._trail.name)
        if newest is not None and (breach is None or newest.point.breach is not None):
            self._remember(Remembered(newest.signed, newest.point, server))

    def _step(self, signer: AuditSigner) -> bool:
        """Sign the next entries; return whether there are more to sign."""
        remembered = self._remembered()
        server, end = self._trail.server(), self._trail.confirmed_end(SEGMENT_ENTRIES)
        base = base_of(end, signer, self._trail.name)
        if base is None:
            self._say_unsigned()
            self._trim()  # nothing else drops them
            return False
        head = Read.of(Signed.from_bytes(end.head), signer, self._trail.name)
        signed = None if head is None else head.point
        breach = self._breach(end, base, head, server, remembered)
        self._report(breach, is_recorded=signed is not None and signed.breach == breach)
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
            self._remember(Remembered(point, made, server))
        return end.more or len(entries) < len(end.entries)

    def _remembered(self) -> list[Remembered]:
        """Return what this process remembers. Call this before reading the trail, which may be re-signed meanwhile."""
        own = [] if self._known is None else [self._known]
        return [*own, *self._heard.values()]

    def _remember(self, known: Remembered) -> None:
        """Remember a checkpoint. One that records a breach replaces all the checkpoints that showed it."""
        self._known = known
        if known.point.breach is not None:
            self._heard.clear()

    def _report(self, breach: Breach | None, *, is_recorded: bool) -> None:
        if breach is not None and not is_recorded and breach != self._reported:
            event(Event.AUDIT_BREACH, level=logging.ERROR, trail=self._trail.name, seq=breach.seq, what=breach.what)
        self._reported = breach

    def _breach(
        self, end: TrailEnd, base: tuple[int, bytes], head: Read | None, server: str, remembered: Sequence[Remembered]
    ) -> Breach | None:
        """Return the first change to signed entries, if any; one that the last checkpoint records stays recorded."""
        signed = None if head is None else head.point
        if signed is not None and signed.breach is not None and signed.first == base[0] + 1:
            return signed.breach
        if end.head and signed is None:
            return Breach(base[0] + 1, FORGED)
        if signed is not None and (found := change_since(signed, end, base)) is not None:
            return found
        points = {(each.point.last, each.point.head): each for each in remembered}
        changes = ((each, self._changed_since(each.point, end, base)) for each in points.values())
        found_by = min(
            ((change.seq, change, each) for each, change in changes if change is not None),
            key=lambda found: found[0],
            default=None,
        )
        if found_by is None:
            return None
        seq, change, each = found_by
        took_over = server != each.server and "" not in {server, each.server}
        return Breach(seq, LOST) if took_over and is_cut_off(each.point, end, base[0], change) else change

    def _changed_since(self, point: Checkpoint, end: TrailEnd, base: tuple[int, bytes]) -> Breach | None:
        """Return how entries differ from a remembered checkpoint, even if they are in segments by now."""
        if point.last >= base[0]:
            return change_since(point, end, base)
        found = self._trail.archived(point.first, point.last)
        if not found:
            return None  # they are past their retention
        begins, tags = found[0][0], [tag_of(entry) for _, entry in found]
        difference = first_difference(tags, tags_in(point.tags)[begins - point.first :], may_go_on=True)
        return None if difference is None else Breach(begins + difference[0], difference[1])

    def _prune(self, signer: AuditSigner) -> bool:
        """Drop segments past their retention, and sign the trail's new beginning; return whether there may be more."""
        end = self._trail.end(1)
        count, follows = self._count_old_segments(signer, end)
        if follows is not None:
            members = beginning_members(self._trail.name, follows.last + 1, follows.head, end.now_ms, signer.key_id)
            if self._trail.prune(end.beginning, Signed.by(signer, members), count):
                event(Event.AUDIT_PRUNED, trail=self._trail.name, segments=count, before=follows.last + 1)
        return count >= _PRUNED

    def _count_old_segments(self, signer: AuditSigner, end: TrailEnd) -> tuple[int, Checkpoint | None]:
        """Count the first segments, up to the last one past its retention; return that one's checkpoint, too.

        Only the age of what a known key has signed is known; anything put between such segments counts as equally old.
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
        """Log that nothing more is signed until an operator looks: it would build on what no known key has signed."""
        if time.monotonic() - self._said_s >= _SAID_S:
            self._said_s = time.monotonic()
            event(Event.AUDIT_BREACH, level=logging.ERROR, trail=self._trail.name, what=FORGED)

    def _say(self) -> None:
        """Log the head from time to time, where an attacker who can write to the server cannot change it."""
        if self._known is not None and time.monotonic() - self._said_s >= _SAID_S:
            self._said_s = time.monotonic()
            point = self._known.point
            event(Event.AUDIT_SIGNED, trail=self._trail.name, seq=point.last, head=point.head.hex())


def _for_segment(end: TrailEnd) -> tuple[list[bytes], bool]:
    """Return the entries to sign, and whether they fill a segment; those that follow go into the next one."""
    size = 0
    for count, entry in enumerate(end.entries, 1):
        size += len(entry)
        if size >= SEGMENT_BYTES:
            return end.entries[:count], True
    return end.entries, end.more or len(end.entries) >= SEGMENT_ENTRIES


def _is_old(end: TrailEnd) -> bool:
    oldest = entry_from(end.entries[0])
    return oldest is None or end.now_ms - oldest.at_ms >= SEGMENT_AGE_MS
