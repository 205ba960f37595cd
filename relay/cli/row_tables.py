"""Tables of invocations, one a line or counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.cli.output import moment, table_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

_ROW_COLUMNS: Final = ("reference id", "webhook", "state", "status", "created (UTC)")
_GROUP_COLUMNS: Final = ("webhook", "outcome", "status", "count", "first seen (UTC)", "last seen (UTC)")


def rows_picture(rows: Iterable[dict[str, Any]]) -> Table:
    """Rows of a listing."""
    return table_of(_ROW_COLUMNS, (_row(row) for row in rows))


def groups_picture(groups: Iterable[dict[str, Any]]) -> Table:
    """How many ended alike."""
    return table_of(_GROUP_COLUMNS, (_group(group) for group in groups))


def _row(row: dict[str, Any]) -> list[object]:
    status = None if row["result"] is None else row["result"]["status"]
    return [row["referenceId"], row["webhookId"], row["state"], status, moment(row["createdAt"])]


def _group(group: dict[str, Any]) -> list[object]:
    counted = [group[name] for name in ("webhookId", "outcome", "status", "count")]
    return [*counted, moment(group["firstAt"]), moment(group["lastAt"])]
