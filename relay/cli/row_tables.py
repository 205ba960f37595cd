"""Draws tables of invocations, one a line or counted, that fit a terminal of 80 columns with whole reference ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.cli.output import bad, brief, table_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

_ROW_COLUMNS: Final = ("reference id", "webhook", "state", "created (UTC)")
_GROUP_COLUMNS: Final = ("webhook", "outcome", "status", "count", "first (UTC)", "last (UTC)")
_FAILED_STATES: Final = frozenset({"unreachable", "interrupted", "rejected"})
_GOOD: Final = frozenset({None, "answered"})


def rows_picture(rows: Iterable[dict[str, Any]], replayed: dict[str, str] | None = None) -> Table:
    """Draw rows of a listing; ``replayed`` has, by reference id, how replays ended, and gets a column of its own."""
    if replayed is None:
        return table_of(_ROW_COLUMNS, (_row(row) for row in rows))
    columns = (*_ROW_COLUMNS[:-1], "its replay")
    return table_of(columns, ([*_row(row)[:-1], replayed.get(row["referenceId"])] for row in rows))


def groups_picture(groups: Iterable[dict[str, Any]]) -> Table:
    """Draw a table of the numbers of invocations that ended alike."""
    return table_of(_GROUP_COLUMNS, (_group(group) for group in groups))


def ended_as(row: dict[str, Any]) -> str:
    """Return an invocation's state and status in words; ``failed`` if it was delivered but its answer is an error."""
    state, result = row["state"] or "damaged", row["result"]
    status = result["status"] if result else 0
    if state == "delivered" and result and result["error"]:
        return f"failed {status}"
    return f"{state} {status}" if status else str(state)


def _row(row: dict[str, Any]) -> list[object]:
    word, damage = ended_as(row), [f"damaged: {name}" for name in row.get("damaged", ())]
    failed = row["state"] in _FAILED_STATES or word.startswith("failed") or damage
    return [row["referenceId"], row["webhookId"], bad(word, *damage) if failed else word, brief(row["createdAt"])]


def _group(group: dict[str, Any]) -> list[object]:
    failed = group["outcome"] not in _GOOD or (group["status"] or 0) >= 400
    outcome = bad(group["outcome"]) if failed else group["outcome"]
    return [
        group["webhookId"],
        outcome,
        group["status"],
        group["count"],
        brief(group["firstAt"]),
        brief(group["lastAt"]),
    ]
