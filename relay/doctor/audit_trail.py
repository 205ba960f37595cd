"""Checks that the audit trail is signed, and how old its oldest unsigned entry is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.audit.checkpoint import Signed
from relay.audit.entry import entry_from
from relay.audit.verifying import LOST
from relay.doctor.finding import FOREIGN_WRITER, Finding, Level
from relay.errors import RelayError
from relay.store.trail.trail import Trail, checkpoint_in, every_trail

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from relay.audit.checkpoint import Breach
    from relay.store.trail.trail import TrailEnd
    from relay.wiring.runtime import Runtime

#: How old an unsigned entry may be: a worker signs every two seconds, and another takes over after five.
LAG_MS: Final = 60_000
_CHECK: Final = "audit trail"


def examine_audit_trail(runtime: Runtime) -> Finding:
    """Check the newest checkpoints only; `relay audit verify` checks the whole trail."""
    if runtime.settings.audit_key is None:
        advice = "`relay audit key --new` makes a key: give it to workers and commands as RELAY_AUDIT_KEY."
        return Finding(_CHECK, Level.NOTE, "entries are written but not signed", advice)
    try:
        found = every_trail(runtime.client, runtime.keyspace, Trail.end)
    except RelayError as error:
        return Finding(_CHECK, Level.PROBLEM, error.message, "See the findings above.")
    return judged_trails(found.found, found.silent)


def judged_trails(ends: Mapping[str, TrailEnd], silent: Collection[str]) -> Finding:
    """Return the finding on the ends of some trails, by name, and on others that did not answer."""
    breaches = {name: breach.what for name, end in ends.items() for breach in _breaches(end)}
    if breaches:
        lost = [name for name, what in breaches.items() if what == LOST]
        return _lost(lost) if len(lost) == len(breaches) else _changed([name for name in breaches if name not in lost])
    if silent:
        said = f"these trails cannot be read: {', '.join(silent)}"
        return Finding(_CHECK, Level.PROBLEM, said, "See the findings above.")
    lag_ms = max(map(_lag_ms, ends.values()))
    if lag_ms > LAG_MS:
        said = f"nothing was signed for {lag_ms // 1000} s"
        return Finding(_CHECK, Level.PROBLEM, said, "Workers sign entries: start one, with RELAY_AUDIT_KEY set.")
    return Finding(_CHECK, Level.OK, "signed")


def _changed(names: list[str]) -> Finding:
    found = f"signed entries were changed (trail {', '.join(names)})"
    advice = f"{FOREIGN_WRITER}: `relay audit verify` names the entry."
    return Finding(_CHECK, Level.PROBLEM, found, advice)


def _lost(names: list[str]) -> Finding:
    found = f"the server that took over lacks signed entries (trail {', '.join(names)})"
    advice = "With RELAY_STORE_REPLICAS replicas have what is signed: `relay audit verify` names the entry."
    return Finding(_CHECK, Level.PROBLEM, found, advice)


def _breaches(end: TrailEnd) -> list[Breach]:
    """Return the breaches that the newest checkpoints record."""
    points = [each.checkpoint() for each in (Signed.from_bytes(end.head), checkpoint_in(end.last_segment))]
    return [point.breach for point in points if point is not None and point.breach is not None]


def _lag_ms(end: TrailEnd) -> int:
    """Return the age of the oldest unsigned entry in milliseconds; 0 if every entry is signed."""
    point = Signed.from_bytes(end.head).checkpoint()
    signed = 0 if point is None else point.last - point.first + 1
    oldest = entry_from(end.entries[signed]) if signed < len(end.entries) else None
    return 0 if oldest is None else end.now_ms - oldest.at_ms
