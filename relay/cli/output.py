"""Prints the output of commands, as tables for people or stable JSON for programs, and sets their exit status.

All output is escaped: control characters, invisible ones and those that change the direction of text cannot reach a
terminal, and no text is read as rich's markup.
"""

from __future__ import annotations

import errno
import functools
import io
import json
import os
import re
import sys
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from relay.errors import BadParameter, DocumentError, MalformedJson, RelayError, SettingsError, Unavailable
from relay.telemetry.log import configure_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
#: Errors in what the user typed (also a filter with an unknown name), as opposed to failures.
_USAGE: Final = (DocumentError, BadParameter, MalformedJson)
_AWAY: Final = "Is it running? `relay up` starts it, and `relay doctor` says what is wrong."
_WHOLE_CHARS: Final = 40  # a reference id has 36
_FILE_WIDTH: Final = 240  # columns of a table that is not written to a terminal
#: Members of results that name what a command made, which may be known from nowhere else.
_IDS: Final = {"referenceId": "Reference id", "replayId": "Replay id", "planId": "Plan id"}

# C0 and C1 controls, soft hyphen, zero-width and bidirectional controls, separators, tags, surrogates.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)


def safe(value: object) -> str:
    """Return a value as text, with an escape for each character that could act on a terminal or mislead its reader."""
    return _UNSAFE.sub(lambda found: _escape(found[0]), str(value))


def _escape(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """Return a value as JSON in ASCII characters, on one line without ``indent``; integers of any size are kept."""
    # json leaves DEL as it is; it can only be inside strings, where it may be written as \u007f.
    return json.dumps(value, ensure_ascii=True, allow_nan=False, indent=indent).replace("\x7f", "\\u007f")


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Make a table; None is an empty cell, a list has one value a line. Ids in the first column are not wrapped."""
    cells = [[_cell(value) for value in row] for row in rows]
    whole = all(len(row[0]) <= _WHOLE_CHARS for row in cells)  # longer values must be wrapped, or they would be cut
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=whole and column == columns[0])
    for row in cells:
        table.add_row(*row)
    return table


def moment(time: str | None) -> str | None:
    """Shorten an RFC 3339 time for tables, with a blank at which it can be wrapped."""
    return None if time is None else f"{time[:10]} {time[11:19]}"


def brief(time: str | None) -> str | None:
    """Shorten an RFC 3339 time for narrow columns: ``11-26 20:15``."""
    return None if time is None else f"{time[5:10]} {time[11:16]}"


def lines_of(*lines: object) -> Text:
    """Make a text of lines."""
    return Text("\n".join(safe(line) for line in lines))


def bad(*values: object) -> Text:
    """Make a cell about something wrong, one value a line: red, if the terminal has colours."""
    return Text("\n".join(safe(each) for each in values), style="red")


def facts_of(pairs: Iterable[tuple[str, object]]) -> Table:
    """Make a table of names and values, one pair a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(safe(name)), _cell(value))
    return table


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    if value is None:
        return Text("")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, list | tuple | set | frozenset):
        return lines_of(*value)
    return Text(safe(value))


def _drawn(picture: RenderableType) -> str:
    """Return a picture as text; rich would end the command without a word if the reader of its output were gone."""
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False, width=width)
    with console.capture() as drawn:
        console.print(picture)
    return drawn.get()


class NotShown(Exception):
    """Standard output does not take what a command has to show; what the command was to do is done."""


@contextmanager
def showing(value: Any = None) -> Iterator[None]:
    """Raise `NotShown` if standard output takes nothing, with the ids in the result that is shown inside.

    A reader that leaves while lines are listed, such as `head`, is no fault.
    """
    try:
        yield
    except OSError as error:
        members = value if isinstance(value, dict) else {}
        if error.errno == errno.EPIPE and not members:
            raise
        sentence = f"The output cannot be written: {error.strerror}."
        if value is not None:
            sentence += " What the command was to do is done: look at it before you run the command again."
        ids = (f" {words}: {members[name]}" for name, words in _IDS.items() if name in members)
        raise NotShown(sentence + ".".join(ids)) from None


class Screen:
    """The output of a command: results go to standard output, everything else to standard error."""

    def __init__(self, form: str) -> None:
        self.is_json = form == "json"

    def show(self, value: Any, picture: Callable[[], RenderableType]) -> None:
        """Show the command's result: ``value`` as JSON for programs, or ``picture`` for people."""
        text = as_json(value) + "\n" if self.is_json else _drawn(picture())
        with showing(value):
            click.echo(text, nl=False, color=True)

    def tell(self, value: Any, *lines: str) -> None:
        """Show the command's result: ``value`` as JSON for programs, or lines for people."""
        self.show(value, lambda: lines_of(*lines))

    def write(self, value: Any, text: str) -> None:
        """Write a text for other programs unchanged, or ``value`` as JSON."""
        with showing(value):
            click.echo(as_json(value) if self.is_json else text, nl=self.is_json)

    def note(self, sentence: str) -> None:
        """Show a sentence to the user, on standard error; if that is full or closed, nobody can be told."""
        with suppress(OSError):
            click.echo(safe(sentence), err=True)

    def fail(self, error: RelayError) -> int:
        """Show an error to people, and as JSON if that is the output's form; return the exit status."""
        if self.is_json:
            with suppress(OSError):  # people are told below
                click.echo(as_json(_problem_of(error)))
        lines = [f"{click.style('Error:', fg='red')} {safe(error.message)}"]
        if isinstance(error, Unavailable):
            lines.append(f"  {_AWAY}")
        lines += [f"  {safe(fault)}" for fault in error.faults]
        if error.reference_id:
            lines.append(f"  reference id: {safe(error.reference_id)}")
        with suppress(OSError):
            click.echo("\n".join(lines), err=True)
        return EXIT_USAGE if isinstance(error, _USAGE) else EXIT_FAILED


def _problem_of(error: RelayError) -> dict[str, Any]:
    """Return an error as a JSON object: its code, message, faults and reference id."""
    problem: dict[str, Any] = {"code": error.code, "message": error.message}
    if isinstance(error, DocumentError):
        return problem | {"faults": [asdict(fault) for fault in error.faults]}
    problem["errors"] = [{"pointer": fault.pointer, "message": fault.message} for fault in error.faults]
    problem["referenceId"] = error.reference_id
    return problem


def screened(function: Callable[..., None]) -> Callable[..., None]:
    """Add ``--output`` to ``function(screen, **parameters)``, and turn its errors into exit statuses."""

    @click.option(
        "--output",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table for people, or JSON for programs.",
    )
    @functools.wraps(function)
    def run(*, form: str, **parameters: Any) -> None:
        _ready_streams()
        configure_command()
        screen = Screen(form)
        try:
            function(screen, **parameters)
        except RelayError as error:
            raise click.exceptions.Exit(screen.fail(error)) from None
        except NotShown as error:
            raise click.exceptions.Exit(screen.fail(RelayError(str(error)))) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # click ends the command
                raise
            raise click.exceptions.Exit(screen.fail(_file_fault(error))) from None
        finally:
            drop_unwritten()

    return run


def _ready_streams() -> None:
    """Replace standard streams that were closed before the start with ones that refuse all text, as full ones do.

    Buffer standard output also with PYTHONUNBUFFERED, which the image sets: Python would then take no notice of how
    much of a text a full disk has taken.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDONLY), "w"))
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, io.RawIOBase):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw), sys.stdout.encoding, sys.stdout.errors, line_buffering=raw.isatty()
        )


def drop_unwritten() -> None:
    """Drop text that a standard stream has not taken, or Python tries again at its end, and fails with status 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _file_fault(error: OSError) -> SettingsError:
    """Return the error of a file that cannot be read or written, say because a disk is full."""
    where = f" ({error.filename})" if error.filename else ""
    return SettingsError(
        f"A file cannot be read or written: {error.strerror}{where}. Free space on its disk, or correct its"
        " permissions, and run the command again."
    )
