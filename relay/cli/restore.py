"""``relay restore``: a backup copied into an empty store, and what follows until calls are sent again."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click
from rich.console import Group

from relay.audit.entry import Act
from relay.backup.manifest import Manifest
from relay.backup.restoring import Restoring
from relay.backup.undoing import ACTIONS, DoneSince, Redoing, ShippedTrail, Undoing, check_trail
from relay.backup.unfinished import Unfinished, by_webhook
from relay.cli.backup import administered, held_keys
from relay.cli.command import acting, command_runtime
from relay.cli.output import Screen, facts_of, lines_of, safe, table_of
from relay.cli.progress import counting
from relay.errors import Conflict, RelayError
from relay.store.backups.epoch import Phase
from relay.store.ledger.callbacks import Callbacks
from relay.store.server.connection import connect
from relay.upkeep.callbacks import CallbackSender

if TYPE_CHECKING:
    from relay.wiring.runtime import Runtime

_FINISH: Final = Path("finish")
_COLUMNS: Final = ("plugin", "webhook", "end", "goOn")


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIRECTORY|finish")
@click.option(
    "--audit",
    type=click.File("rb"),
    help="A shipped audit trail (gzip or plain): repeats what was done after the backup, asking about each act.",
)
@acting(Act.RESTORE)
def restore(screen: Screen, directory: Path, audit: IO[bytes] | None) -> None:
    """Copy the backup in DIRECTORY into an empty store. The store is then fenced: nothing is accepted or sent.

    Calls that were unfinished at the backup are shown. `relay restore finish` ends those that may not be repeated as
    `interrupted`, lets the others continue, and removes the fence. If a restore is interrupted, run it again; once
    everything is copied, it only shows the calls and asks again.
    """
    runtime = command_runtime()
    unfinished = Unfinished(runtime.client, runtime.keyspace, runtime.registry, runtime.limits, runtime.epochs)
    if directory == _FINISH:
        _finish(screen, runtime, unfinished, audit)
        return
    manifest = Manifest.read(directory, runtime.data_vault)
    manifest.check_rings(held_keys(runtime))
    if audit is not None:
        check_trail(audit)  # before anything is done
    with closing(connect(administered(runtime.settings))) as client:
        restoring = Restoring(client, runtime.keyspace, runtime.data_vault, manifest, directory)
        if not restoring.is_copied():
            _copy(restoring)
            runtime.audit_writer.write(Act.RESTORE, subject=manifest.backup, outcome="fenced")
    undone = _undo(screen, runtime, unfinished, audit)
    facts = {
        "backup": manifest.backup,
        "of": f"{manifest.began_at} to {manifest.ended_at}",
        "epoch": runtime.epochs.read().number,
        **asdict(manifest.counts),
    }
    calls, replays, untold = by_webhook(unfinished.calls()), unfinished.replays(), unfinished.untold()
    plan = {"calls": calls, "replays": replays, "callbacks": untold, "undone": undone}
    facts |= {"replays that make no more calls": len(replays), "callbacks not sent at the backup": untold}
    rows = [[row[column] for column in _COLUMNS] for row in calls]
    screen.show(
        {**facts, "unfinished": plan}, lambda: Group(facts_of(facts.items()), lines_of(""), table_of(_COLUMNS, rows))
    )
    screen.note("The store is fenced: nothing is accepted or sent until `relay restore finish`.")


def _copy(restoring: Restoring) -> None:
    restoring.begin()
    with counting("copying keys") as progress:
        bar = progress.add_task("", total=None)
        for count in restoring.steps():
            progress.advance(bar, count)
    restoring.finish()


def _finish(screen: Screen, runtime: Runtime, unfinished: Unfinished, audit: IO[bytes] | None) -> None:
    epoch = runtime.epochs.read()
    if not epoch.is_fenced:
        raise Conflict("The store is not being restored: there is nothing to finish.")
    if audit is not None and epoch.phase is Phase.DECIDING:
        raise Conflict(
            "`restore finish` was begun before, and the calls that it let continue are sent: run it again without"
            " --audit, and repeat the acts in the trail with their own commands."
        )
    undone = _undo(screen, runtime, unfinished, audit)
    sender = CallbackSender(
        runtime.partitions,
        Callbacks(runtime.client, ends_restore=True),
        runtime.dispatcher,
        runtime.registry,
    )
    with runtime.audit_writer.writing(Act.RESTORE, subject=str(_FINISH)):
        decided = unfinished.decide(sender)
    said = {"ended": decided.ended, "goOn": decided.goes_on, "replays": decided.replays, "undone": undone}
    screen.tell(
        said,
        f"The store is open. Calls that ended as interrupted (outcome restored): {decided.ended}; that go on:"
        f" {decided.goes_on}; replays that make no more calls: {decided.replays}.",
    )


def _undo(screen: Screen, runtime: Runtime, unfinished: Unfinished, audit: IO[bytes] | None) -> list[dict[str, Any]]:
    """Ask about each thing that the trail says was done since the backup; return what became of it."""
    if audit is None:
        return []
    trail = ShippedTrail(audit, runtime.epochs.read().trails)
    said = ", ".join(f"{name}: {count}" for name, count in sorted(trail.following.items()))
    screen.note(f"Entries of the file that follow the backup, by trail: {said}.")
    if not trail.following.total():
        screen.note("None follows: if the relay was used after the backup, this trail was shipped too early.")
    for what, count in sorted(trail.lost.items()):
        screen.note(f"Since the backup and lost with it: {what}: {count}.")
    for plugin, found in sorted(trail.subjects.items()):
        screen.note(
            f"Since the backup, subjects of {plugin} were forgotten, whose contents it has (jobs begun: {found.begun},"
            f" ended: {found.ended}, invocations: {found.invocations}, the last at {found.last_at}). The trail does not"
            " name them: after `relay restore finish`, run"
            f" `relay invocations forget --plugin {plugin} --subject SUBJECT` for each."
        )
    redoing, applied = Redoing(runtime, unfinished), {}
    for each in trail.undoings(runtime):
        applied[each] = _is_wanted(f"{_words(each)}: {ACTIONS[each.kind]}?")
        if applied[each]:
            try:
                redoing.do(each)
            except RelayError as error:
                applied[each] = False
                screen.note(f"{_words(each)}: {error.message}")
    for each, refusal in redoing.refused.items():
        applied[each] = False
        instead = " It is paused." if each.kind is DoneSince.REMOVED else ""
        screen.note(f"{_words(each)}: {refusal.message}{instead}")
    return [
        {"what": str(each.kind), "plugin": each.plugin, "subject": each.subject, "applied": is_applied}
        for each, is_applied in applied.items()
    ]


def _words(undoing: Undoing) -> str:
    return f"{undoing.kind}: {undoing.plugin}/{undoing.subject}"


def _is_wanted(question: str) -> bool:
    """Ask on standard error, and read a line; only an answer that begins with n refuses."""
    click.echo(f"{safe(question)} [Y/n] ", nl=False, err=True)
    return not sys.stdin.readline().strip().lower().startswith("n")
