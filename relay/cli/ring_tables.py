"""Shows the key rings: their keys, how many values are sealed under each, and the values that do not open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.cli.output import Screen, bad
from relay.rotation.resealing import NAMED, Damaged, KeyUses

if TYPE_CHECKING:
    from relay.rotation.ring_file import RingFile


def ring_rows(ring: RingFile, uses: KeyUses) -> list[dict[str, Any]]:
    """Return a row for each key of a ring, and one for each kind and plugin with values that do not open."""
    counts = uses.counts[ring.name]
    keys = [
        {"ring": ring.name, "key": key_id, "role": "opens" if number else "seals", "sealed": counts[key_id]}
        for number, key_id in enumerate(ring.key_ids())
    ]
    damaged = [
        {"ring": name, "key": None, "role": "damaged", "sealed": count, "kind": kind, "plugin": plugin or None}
        for (name, kind, plugin), count in sorted(uses.damaged.counts.items())
        if name == ring.name
    ]
    return [*keys, *damaged]


def ring_line(row: dict[str, Any]) -> list[object]:
    """Return a row of `ring_rows` as a line of the table."""
    if row["role"] != "damaged":
        return [*row.values()]
    return [row["ring"], None, bad(f"damaged: {row['kind']} of {row['plugin'] or 'no plugin'}"), row["sealed"]]


def say_damaged(screen: Screen, damaged: Damaged) -> None:
    """Show the store's keys of some values that do not open, and what to do about them."""
    if count := damaged.counts.total():
        named = ", ".join(damaged.keys) + ", ..." * (count > NAMED)
        screen.note(
            f"Values that no configured key opens: {count} ({named}). If a key is missing, put it back into its ring"
            " (from the back-up). What no key opens is lost: register such webhooks again, and delete such payloads"
            " with `relay invocations forget`."
        )
