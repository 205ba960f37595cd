"""Writes acts of operators that failed to the audit trail: what was asked for, and the error's code.

A script that performs an act writes its entry itself, also if it refuses the act.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from relay.cli.command_runtime import command_runtime
from relay.errors import RelayError, Unavailable
from relay.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay.audit.entry import Act
    from relay.cli.output import Screen

#: Parameters that name what a command acts on; the first that is given is the entry's subject.
_SUBJECTS: Final = ("webhook_id", "key_id", "replay_id", "secret")
_MAX_SUBJECT_CHARS: Final = 64


def acting(
    act: Act, *, noted: tuple[type[RelayError], ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command write an entry if it fails; ``noted`` are the errors for which a script has written one."""

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(screen: Screen, data_dir: Path, **parameters: Any) -> None:
            subject = next((str(parameters[name]) for name in _SUBJECTS if parameters.get(name)), "")
            with refusals(data_dir, act, parameters.get("plugin") or "", subject, noted=noted):
                function(screen, data_dir, **parameters)

        return run

    return wrap


@contextmanager
def refusals(
    data_dir: Path, act: Act, plugin: str = "", subject: str = "", *, noted: tuple[type[RelayError], ...] = ()
) -> Iterator[None]:
    """Write an entry of an error that is raised inside, unless it is one of ``noted`` or the store is away."""
    try:
        yield
    except RelayError as error:
        if not isinstance(error, (*noted, Unavailable)):
            with suppress(RelayError):  # the command's own error is reported
                writer = command_runtime(Settings.for_command(data_dir)).audit_writer
                written = quote(subject[:_MAX_SUBJECT_CHARS], safe="@+:")
                writer.write(act, plugin=plugin, subject=written, outcome=error.code)
        raise
