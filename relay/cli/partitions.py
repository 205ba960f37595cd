"""``relay partitions``: shows the parts of the store, and moves plugins between them."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click
from rich.text import Text

from relay.audit.entry import Act
from relay.cli.acts import acting
from relay.cli.command_runtime import command_runtime
from relay.cli.completion import plugins_like
from relay.cli.names import check_plugin
from relay.cli.output import bad, screened, table_of
from relay.cli.parameters import IdType
from relay.errors import Unavailable
from relay.settings import Settings
from relay.store.connection import connect
from relay.store.moving import PluginMoves
from relay.store.old_names import adopt_old_keys
from relay.store.partition_states import partition_states
from relay.store.server_errors import store_errors

if TYPE_CHECKING:
    from pathlib import Path

    from relay.cli.output import Screen
    from relay.store.moving import Move
    from relay.store.partition_states import PartitionState

_COLUMNS: Final = ("root", "server", "pending", "records", "plugins")


@click.group()
def partitions() -> None:
    """Partitions: the parts of the store, each of which has its plugins."""


@partitions.command()
@screened
def show(screen: Screen, data_dir: Path) -> None:
    """Show each partition: its server, its plugins, their calls that are not final, and their records."""
    runtime = command_runtime(Settings.for_command(data_dir))
    with suppress(Unavailable):  # the command shows which servers are away
        runtime.audit_writer.write(Act.PARTITION_SHOW)
    try:
        client = runtime.client
    except Unavailable:  # the server of shared keys is away; those of partitions may not be
        client = connect(runtime.settings)
    found = partition_states(client, runtime.keyspace)
    rows = [asdict(state) for state in found]
    screen.show(rows, lambda: table_of(_COLUMNS, (_line(state) for state in found)))
    if len(found) == 1:
        screen.note("The store has one partition: every plugin is in it.")
    for plugin in sorted({plugin for state in found for plugin in state.moving}):
        screen.note(f"{plugin} is being moved. If the command was interrupted, give it again: `relay partitions move`.")
    if away := sum(state.server is None for state in found):
        screen.note(f"The servers of {away} of {len(found)} partitions cannot be reached: calls of their plugins wait.")


@partitions.command()
@click.argument("plugin", type=IdType(), shell_complete=plugins_like)
@click.option(
    "--to", "target", type=click.IntRange(min=0), help="Where to move it [default: the partition of its name]."
)
@screened
@acting(Act.PARTITION_MOVE)
def move(screen: Screen, data_dir: Path, plugin: str, target: int | None) -> None:
    """Move a plugin with all its data to another partition.

    All its webhooks must be paused, and none of its calls may be on its way; its triggers get 503 until it has moved.
    If the command is interrupted, give it again. A plugin whose name has the same hash is moved with it.
    """
    runtime = command_runtime(Settings.for_command(data_dir))
    moves = PluginMoves(runtime.client, runtime.keyspace.partitions, runtime.settings.store_replicas)
    if not moves.knows(plugin):
        check_plugin(runtime, plugin)
    runtime.audit_writer.write(Act.PARTITION_MOVE, subject=plugin, outcome="begun")
    moved = moves.move(plugin, target)
    for ready in moves.queued(plugin, moved.target):
        runtime.publisher.publish_ready(ready)
    runtime.audit_writer.write(Act.PARTITION_MOVE, subject=plugin)
    screen.show(asdict(moved), lambda: Text(_sentence(moved)))


@partitions.command()
@screened
def adopt(screen: Screen, data_dir: Path) -> None:
    """Rename the keys of a version that had no partitions, as this version names them.

    No process of that version may be running any more, and the server's user must have all rights. The command may be
    interrupted and given again. `relay up` does this by itself on its embedded server.
    """
    settings = Settings.for_command(data_dir)
    with closing(connect(settings)) as client, store_errors():
        renamed = adopt_old_keys(client)
    command_runtime(settings).audit_writer.write(Act.PARTITION_ADOPT)
    screen.show({"keys": renamed}, lambda: Text(f"{renamed} keys were renamed."))


def _sentence(moved: Move) -> str:
    names = ", ".join(moved.plugins)
    if moved.source == moved.target:
        return f"Already in partition {moved.target}: {names}."
    return f"Now in partition {moved.target}, with {moved.keys} keys: {names}. Resume the webhooks."


def _line(state: PartitionState) -> list[object]:
    server = bad("away") if state.server is None else state.server
    return [state.root, server, state.pending, state.records, ", ".join(state.plugins)]
