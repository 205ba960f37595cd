"""``relay doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

from contextlib import suppress

import click

from relay.audit.entry import Act
from relay.cli.command import command_runtime
from relay.cli.output import EXIT_FAILED, Screen, screened, table_of
from relay.cli.parameters import data_dir
from relay.doctor import Level, examine
from relay.errors import RelayError


@click.command(short_help="Show what is wrong and what to do about it.")
@screened
def doctor(screen: Screen) -> None:
    """Check Redis, workers, keys, clock, versions and files; the exit status is 1 if there is any problem."""
    runtime = command_runtime()
    with suppress(RelayError):  # the examination reports it
        runtime.audit_writer.write(Act.DOCTOR)
    findings = list(examine(data_dir(), runtime.settings, runtime))
    value = [
        {"check": each.check, "level": each.level.value, "found": each.found, "advice": each.advice or None}
        for each in findings
    ]
    rows = [(each.check, each.level.value, each.found, each.advice) for each in findings]
    screen.show(value, lambda: table_of(("check", "level", "found", "what to do"), rows))
    problems = sum(each.level is Level.PROBLEM for each in findings)
    if problems:
        screen.note(f"Problems to be solved: {problems}.")
        raise click.exceptions.Exit(EXIT_FAILED)
