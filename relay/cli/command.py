"""What a command does besides its act: it makes its runtime, and writes to the audit trail that it failed.

A script that performs an act writes its entry itself, also if it refuses the act.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from relay.cli.output import Screen, screened
from relay.cli.parameters import data_dir
from relay.errors import RelayError, Unavailable
from relay.settings import Settings
from relay.store.server.availability import leaving_out_longer
from relay.wiring.runtime import Runtime, cli_runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.audit.entry import Act

#: Parameters that name what a command acts on; the first that is given is the entry's subject.
_SUBJECTS: Final = ("webhook_id", "key_id", "replay_id", "secret")
_MAX_SUBJECT_CHARS: Final = 64


def command_runtime() -> Runtime:
    """Return a runtime for the command that runs now; its connections are closed when the command ends."""
    runtime = cli_runtime(Settings.for_command(data_dir()))
    context = click.get_current_context()
    context.with_resource(leaving_out_longer())
    context.call_on_close(runtime.close)
    return runtime


def acting(
    act: Act, *, noted: tuple[type[RelayError], ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Do what ``screened`` does, and write an entry of a failure.

    ``noted`` are the errors for which a script has written one.
    """

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(screen: Screen, **parameters: Any) -> None:
            subject = next((str(parameters[name]) for name in _SUBJECTS if parameters.get(name)), "")
            with refusals(act, parameters.get("plugin") or "", subject, noted=noted):
                function(screen, **parameters)

        return screened(run)

    return wrap


@contextmanager
def refusals(
    act: Act, plugin: str = "", subject: str = "", *, noted: tuple[type[RelayError], ...] = ()
) -> Iterator[None]:
    """Write an entry of an error that is raised inside, unless it is one of ``noted`` or the store is away."""
    try:
        yield
    except RelayError as error:
        if not isinstance(error, (*noted, Unavailable)):
            with suppress(RelayError):  # the command's own error is reported
                writer = command_runtime().audit_writer
                written = quote(subject[:_MAX_SUBJECT_CHARS], safe="@+:", errors="surrogateescape")
                writer.write(act, plugin=plugin, subject=written, outcome=error.code)
        raise
