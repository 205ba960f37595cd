"""``relay invocations``: what happened to a reference id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Group
from rich.text import Text

from relay.cli.output import as_json, facts_of, moment, safe, screened, table_of
from relay.cli.parameters import IdType, plugin_option
from relay.cli.reading import result_in
from relay.invocation import State
from relay.rows import record_of, row_of
from relay.runtime import cli_runtime
from relay.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from relay.cli.output import Screen

MAX_ROWS: Final = 10_000
_COLUMNS: Final = ("reference id", "webhook", "state", "status", "created (UTC)")
_ATTEMPT_COLUMNS: Final = ("number", "startedAt", "durationMs", "status", "outcome", "sent")


@click.group()
def invocations() -> None:
    """Invocations: list them, look at one, cancel one."""


@invocations.command("list")
@plugin_option()
@click.option("--webhook", "webhook_id", type=IdType(), help="Only of this webhook.")
@click.option("--state", type=click.Choice([str(state) for state in State]), help="Only in this state.")
@click.option("--limit", type=click.IntRange(1, MAX_ROWS), default=50, show_default=True, help="At most so many.")
@screened
def list_invocations(
    screen: Screen, data_dir: Path, *, plugin: str, webhook_id: str | None, state: str | None, limit: int
) -> None:
    """A plugin's invocations, newest first."""
    listing = cli_runtime(Settings.for_command(data_dir)).listing
    wanted = State(state) if state else None
    rows = [row_of(each) for each in listing.newest(plugin, webhook_id=webhook_id, state=wanted, limit=limit)]
    screen.show(rows, lambda: table_of(_COLUMNS, (_line(row) for row in rows)))


@invocations.command()
@click.argument("reference_id", metavar="REF")
@plugin_option(required=False)
@screened
def show(screen: Screen, data_dir: Path, reference_id: str, plugin: str | None) -> None:
    """The whole record of an invocation, with its result."""
    runtime = cli_runtime(Settings.for_command(data_dir))
    store = runtime.store
    invocation = store.find(reference_id) if plugin is None else store.get(plugin, reference_id)
    record = record_of(invocation, operate=True, result=result_in(runtime, invocation, screen))
    screen.show(record, lambda: _picture(record))


@invocations.command()
@click.argument("reference_id", metavar="REF")
@plugin_option(required=False)
@screened
def cancel(screen: Screen, data_dir: Path, reference_id: str, plugin: str | None) -> None:
    """Cancel an invocation that no worker has taken."""
    runtime = cli_runtime(Settings.for_command(data_dir))
    runtime.publisher.publish_ready(runtime.store.cancel(reference_id, plugin=plugin))
    value = {"referenceId": reference_id, "state": str(State.CANCELLED)}
    screen.show(value, lambda: facts_of(value.items()))


def _line(row: dict[str, Any]) -> list[object]:
    status = None if row["result"] is None else row["result"]["status"]
    return [row["referenceId"], row["webhookId"], row["state"], status, moment(row["createdAt"])]


def _picture(record: dict[str, Any]) -> RenderableType:
    facts = [(name, value) for name, value in record.items() if name not in {"attempts", "result"}]
    attempts = table_of(_ATTEMPT_COLUMNS, ([each[name] for name in _ATTEMPT_COLUMNS] for each in record["attempts"]))
    lines = as_json(record["result"]).splitlines()
    return Group(facts_of(facts), attempts, Text("result"), Text("\n".join(safe(line) for line in lines)))
