"""``relay partitions``: shows the parts of the store, and divides a store that has one."""

from __future__ import annotations

from contextlib import closing, nullcontext, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

import click

from relay.audit.actor import act_as_operator
from relay.audit.entry import Act
from relay.cli.command import command_runtime
from relay.cli.output import Screen, bad, screened, table_of
from relay.cli.parameters import data_dir
from relay.cli.progress import counting
from relay.errors import Unavailable
from relay.settings import ENV_FILE, Secret, Settings
from relay.settings.environ import read_env_file
from relay.settings.kinds import MOST_PARTITIONS
from relay.settings.names import PARTITIONS
from relay.store.keys.keyspace import SINGLE
from relay.store.partitions.dividing import Division
from relay.store.partitions.format import agree_on_format
from relay.store.partitions.states import PartitionState, partition_states
from relay.store.server.connection import connect
from relay.store.trail.writer import AuditWriter
from relay.text.server_addresses import is_cluster
from relay.up.alone import server_alone
from relay.up.datadir import DataDir
from relay.up.embedded import admin_url

if TYPE_CHECKING:
    from redis import Redis

    from relay.store.counts.totals import StoreCounts

_COLUMNS: Final = ("root", "server", "pending", "records", "plugins")


@click.group()
def partitions() -> None:
    """Show the partitions of the store, or divide it."""


@partitions.command()
@screened
def show(screen: Screen) -> None:
    """Show each partition with its server, plugins, calls and records."""
    runtime = command_runtime()
    with suppress(Unavailable):  # the command shows which servers are away
        runtime.audit_writer.write(Act.PARTITION_SHOW)
    found = partition_states(runtime.client, runtime.keyspace)
    rows = [asdict(state) for state in found]
    screen.show(rows, lambda: table_of(_COLUMNS, (_line(state) for state in found)))
    if len(found) == 1:
        screen.note("The store has one partition: every plugin is in it.")
    if away := sum(state.server is None for state in found):
        screen.note(f"The servers of {away} of {len(found)} partitions cannot be reached: calls of their plugins wait.")


@partitions.command()
@click.argument("number", type=click.IntRange(2, MOST_PARTITIONS))
@screened
def divide(screen: Screen, number: int) -> None:
    """Divide a store that has one partition into NUMBER. This cannot be undone.

    Stop every process of the relay first; the server's user must have all rights. The command itself starts the
    embedded server of `relay up`. If it is interrupted, run it again: until it has finished, no process starts.
    """
    settings = Settings.for_command(data_dir())
    act_as_operator(settings.operator)
    url = settings.store_url.reveal()
    is_embedded = admin_url(data_dir(), url) is not None and not is_cluster(url)
    with (
        server_alone(data_dir()) if is_embedded else nullcontext(url) as own,
        closing(connect(replace(settings, store_url=Secret(own)))) as client,
    ):
        counts = _divide(client, number)
    saved = read_env_file(data_dir() / ENV_FILE)
    if saved:
        DataDir(data_dir()).write_environ({**saved, PARTITIONS: str(number)})
    screen.tell(
        {"partitions": number, **asdict(counts)},
        f"The store has {number} partitions, and what it had before. Plugins: {counts.plugins}, records:"
        f" {counts.records}, calls that are not final: {counts.pending}.",
        f"Start every process with {PARTITIONS}={number}. To go on to a cluster, start the server as its first primary,"
        " add others, and move slots to them: docs/scaling.md",
    )


def _divide(client: Redis, number: int) -> StoreCounts:
    division = Division(client, number)
    agree_on_format(client, SINGLE)
    with AuditWriter(client).writing(Act.PARTITION_DIVIDE, subject=str(number)):
        if division.begin():
            with counting("dividing") as progress:
                bar = progress.add_task("", total=division.size())
                for examined in division.steps():
                    progress.advance(bar, examined)
            division.finish()
    return division.counts()


def _line(state: PartitionState) -> list[object]:
    server = bad("away") if state.server is None else state.server
    return [state.root, server, state.pending, state.records, ", ".join(state.plugins)]
