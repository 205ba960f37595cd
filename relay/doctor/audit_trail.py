"""Checks that the audit trail is signed, and how old its oldest unsigned entry is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.audit.checkpoint import Signed
from relay.audit.entry import entry_from
from relay.doctor.finding import Finding, Level
from relay.errors import RelayError
from relay.store.trail import checkpoint_in, trails

if TYPE_CHECKING:
    from relay.audit.checkpoint import Checkpoint
    from relay.runtime import Runtime
    from relay.store.trail import TrailEnd

#: How old an unsigned entry may be: a worker signs every two seconds, and another takes over after five.
LAG_MS: Final = 60_000
_CHECK: Final = "audit trail"


def examine_audit_trail(runtime: Runtime) -> Finding:
    """Check the newest checkpoints only; `relay audit verify` checks the whole trail."""
    if runtime.settings.audit_key is None:
        advice = "`relay audit key --new` makes a key: give it to workers and commands as RELAY_AUDIT_KEY."
        return Finding(_CHECK, Level.NOTE, "entries are written but not signed", advice)
    try:
        ends = {trail.name: trail.end() for trail in trails(runtime.client, runtime.keyspace)}
    except RelayError as error:
        return Finding(_CHECK, Level.PROBLEM, error.message, "See the findings above.")
    changed = [name for name, end in ends.items() if any(point.breach is not None for point in _points(end))]
    if changed:
        found = f"signed entries were changed (trail {', '.join(changed)})"
        return Finding(
            _CHECK,
            Level.PROBLEM,
            found,
            "Somebody other than the relay writes to the server: `relay audit verify` names the entry.",
        )
    lag_ms = max(map(_lag_ms, ends.values()))
    if lag_ms > LAG_MS:
        found = f"nothing was signed for {lag_ms // 1000} s"
        return Finding(_CHECK, Level.PROBLEM, found, "Workers sign entries: start one, with RELAY_AUDIT_KEY set.")
    return Finding(_CHECK, Level.OK, "signed")


def _points(end: TrailEnd) -> list[Checkpoint]:
    """Return the newest checkpoints."""
    signed = [Signed.from_bytes(end.head) if end.head else None]
    if end.last_segment:
        signed.append(checkpoint_in(end.last_segment))
    return [point for each in signed if each is not None and (point := each.checkpoint()) is not None]


def _lag_ms(end: TrailEnd) -> int:
    """Return the age of the oldest unsigned entry in milliseconds; 0 if every entry is signed."""
    head = Signed.from_bytes(end.head) if end.head else None
    point = None if head is None else head.checkpoint()
    signed = 0 if point is None else point.last - point.first + 1
    oldest = entry_from(end.entries[signed]) if signed < len(end.entries) else None
    return 0 if oldest is None else end.now_ms - oldest.at_ms
