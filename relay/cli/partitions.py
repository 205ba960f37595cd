"""``relay partitions``: shows the parts of the store."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from relay.audit.entry import Act
from relay.cli.command_runtime import command_runtime
from relay.cli.output import bad, screened, table_of
from relay.errors import Unavailable
from relay.settings import Settings
from relay.store.connection import connect
from relay.store.partition_states import partition_states

if TYPE_CHECKING:
    from pathlib import Path

    from relay.cli.output import Screen
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
    if away := sum(state.server is None for state in found):
        screen.note(f"The servers of {away} of {len(found)} partitions cannot be reached: calls of their plugins wait.")


def _line(state: PartitionState) -> list[object]:
    server = bad("away") if state.server is None else state.server
    return [state.root, server, state.pending, state.records, ", ".join(state.plugins)]
