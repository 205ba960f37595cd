"""``relay invocations``: lists, shows, follows, exports, cancels and forgets invocations."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

import click
from rich.console import Group, RenderableType

from relay.audit.entry import Act
from relay.cli.chain_tree import chain_tree
from relay.cli.command import acting, command_runtime
from relay.cli.completion import references_like
from relay.cli.export import export
from relay.cli.filters import filter_options, read_reference, take_filter
from relay.cli.forget import forget
from relay.cli.names import check_filter, finding
from relay.cli.output import Screen, as_json, facts_of, lines_of, screened, table_of
from relay.cli.parameters import plugin_option
from relay.cli.reading import result_in
from relay.cli.row_tables import ended_as, groups_picture, rows_picture
from relay.cli.tail import tail
from relay.domain.invocation import State
from relay.views import group_of, record_of, row_of

MAX_ROWS: Final = 10_000
_LIMIT: Final = 50
_ATTEMPT_COLUMNS: Final = ("number", "startedAt", "durationMs", "status", "outcome", "sent")


@click.group()
def invocations() -> None:
    """List, show, follow, export, cancel and forget invocations."""


for _command in (tail, export, forget):
    invocations.add_command(_command)


@invocations.command("list")
@plugin_option()
@filter_options
@click.option("--limit", type=click.IntRange(1, MAX_ROWS), help=f"Show at most this many [default: {_LIMIT}].")
@click.option("--group", "grouped", is_flag=True, help="Count them by webhook, outcome and status instead.")
@acting(Act.LIST)
def list_invocations(screen: Screen, *, plugin: str, limit: int | None, grouped: bool, **options: Any) -> None:
    """List a plugin's invocations, newest first."""
    if grouped and limit is not None:
        raise click.UsageError("--group counts all of them: --limit cannot be added.")
    runtime = command_runtime()
    listing, wanted = runtime.listing, take_filter(runtime, plugin, options)
    check_filter(runtime, plugin, wanted)
    runtime.audit_writer.write(Act.LIST, plugin=plugin)
    if grouped:
        groups = [group_of(group) for group in listing.groups(plugin, wanted)]
        screen.show(groups, lambda: groups_picture(groups))
        return
    found = list(islice(listing.every(plugin, wanted), limit or _LIMIT))
    rows = [row_of(each) for each in found]
    replays = listing.replay_states(found) if wanted.error and not wanted.unreplayed else None
    words = None if replays is None else {ref: ended_as(row_of(each)) for ref, each in replays.items()}
    screen.show(rows, lambda: rows_picture(rows, words))


@invocations.command()
@click.argument("reference_id", metavar="REF", type=read_reference, shell_complete=references_like)
@plugin_option(required=False)
@screened
def show(screen: Screen, reference_id: str, plugin: str | None) -> None:
    """Show the whole record of an invocation, with its result. For a chain or a step of one, show all of the chain."""
    runtime = command_runtime()
    with finding(runtime, plugin, reference_id):
        invocation = runtime.store.look_up(reference_id, plugin)
    record = record_of(invocation, operate=True, result=result_in(runtime, invocation, screen))
    screen.show(record, lambda: _picture(record, chain_tree(runtime.store, invocation)))


@invocations.command()
@click.argument("reference_id", metavar="REF", type=read_reference, shell_complete=references_like)
@plugin_option(required=False)
@screened
def cancel(screen: Screen, reference_id: str, plugin: str | None) -> None:
    """Cancel an invocation that no worker has taken."""
    runtime = command_runtime()
    with finding(runtime, plugin, reference_id):
        ready = runtime.store.cancel(reference_id, plugin=plugin)
    runtime.publisher.publish_ready(ready)
    value = {"referenceId": reference_id, "state": str(State.CANCELLED)}
    screen.show(value, lambda: facts_of(value.items()))


def _picture(record: dict[str, Any], tree: RenderableType | None) -> RenderableType:
    facts = [(name, value) for name, value in record.items() if name not in {"attempts", "result", "chain"}]
    rows = [[each[name] for name in _ATTEMPT_COLUMNS] for each in record["attempts"]]
    attempts = (table_of(_ATTEMPT_COLUMNS, rows),) if rows else ()
    result = lines_of("result", *as_json(record["result"]).splitlines())
    chain = () if tree is None else (lines_of("chain"), tree)
    return Group(facts_of(facts), *attempts, result, *chain)
