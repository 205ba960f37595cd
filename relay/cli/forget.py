"""``relay invocations forget``: deletes payloads and results, of one invocation or of all that concern a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from relay.audit.entry import Act
from relay.cli.command import command_runtime, refusals
from relay.cli.completion import references_like
from relay.cli.filters import read_reference, subject_option
from relay.cli.names import check_plugin, finding
from relay.cli.output import Screen, facts_of, screened
from relay.cli.parameters import plugin_option, plugin_or_default
from relay.cli.progress import counting
from relay.errors import Conflict
from relay.text.timestamps import rfc3339

if TYPE_CHECKING:
    from relay.store.subjects import forgetting
    from relay.wiring.runtime import Runtime


@click.command()
@click.argument("reference_id", metavar="[REF]", required=False, type=read_reference, shell_complete=references_like)
@subject_option("Forget all that concerns this subject, such as a patient's id.")
@plugin_option(required=False)
@screened
def forget(screen: Screen, *, reference_id: str | None, subject: str | None, plugin: str | None) -> None:
    """Delete payload and result of a finished invocation. The rest of its record stays.

    Of a chain, those of its steps are deleted, too. With --subject: of all invocations of the plugin that concern
    the subject. Workers do it for those that have not ended yet, and finish the job if the command is interrupted.
    """
    if (reference_id is None) == (subject is None):
        raise click.UsageError("Give either REF or --subject.")
    if reference_id is not None:
        with refusals(Act.FORGET, plugin or "", noted=(Conflict,)):
            _forget_one(screen, reference_id, plugin)
    elif subject is not None:
        plugin = plugin_or_default(plugin)
        with refusals(Act.FORGET_SUBJECT, plugin):
            _forget_subject(screen, subject, plugin)


def _forget_one(screen: Screen, reference_id: str, plugin: str | None) -> None:
    runtime = command_runtime()
    with finding(runtime, plugin, reference_id):
        store = runtime.store
        invocation = store.find(reference_id) if plugin is None else store.get(plugin, reference_id)
    forgotten = runtime.store.forget(invocation.plugin, reference_id)
    value = {
        "referenceId": reference_id,
        "state": str(forgotten.state),
        "forgottenAt": rfc3339(forgotten.forgotten_at_ms),
        "expiresAt": rfc3339(forgotten.expires_at_ms),
    }
    screen.show(value, lambda: facts_of(value.items()))


def _forget_subject(screen: Screen, subject: str, plugin: str) -> None:
    runtime = command_runtime()
    check_plugin(runtime, plugin, has_records=True)
    hashed = runtime.subject_hashes.of(plugin, subject)
    runtime.forgetting.begin(plugin, hashed)
    done = _go_on(runtime, plugin, hashed)
    value = {"plugin": plugin, "forgotten": done.forgotten, "unfinished": done.unfinished}
    screen.show(value, lambda: facts_of(value.items()))
    if done.unfinished:
        screen.note("Those that are unfinished will be forgotten by workers within seconds of their ends.")


def _go_on(runtime: Runtime, plugin: str, hashed: str) -> forgetting.Progress:
    """Go on with the job until it has looked at everything; draw how far it is, if standard error is a terminal."""
    with counting("forgetting") as bar:
        task = bar.add_task("", total=None)
        while True:
            progress = runtime.forgetting.go_on(plugin, hashed)
            bar.update(task, total=progress.total, completed=min(progress.looked, progress.total))
            if progress.done or progress.walked:
                return progress
