"""Reads a file of reference ids that were picked by hand: checks the whole file first, then yields one id at a time."""

from __future__ import annotations

import json
import re
import tempfile
from typing import IO, TYPE_CHECKING, Final

import click

from relay.cli.export import COLUMNS
from relay.domain.reference_id import reference_time_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_LINE_CHARS: Final = 1 << 20  # of an exported row
_MEMORY_BYTES: Final = 1 << 20
_EXPORTED: Final = re.compile(r"\s*\{")


class IdFile:
    """The ids of a file, one a line: bare, or in a row of `relay invocations export`, as JSON or CSV.

    Skips blank lines, # lines and the names of CSV's columns. Checked ids are kept in a temporary file, as there may be
    too many for memory.

    Raises:
        click.UsageError: a line has no id, or the file has none at all.
    """

    def __init__(self, source: IO[str]) -> None:
        self.count = 0
        self._checked = tempfile.SpooledTemporaryFile(_MEMORY_BYTES, "w+", encoding="ascii")  # noqa: SIM115 - kept
        for reference_id in _ids(source):
            self._checked.write(f"{reference_id}\n")
            self.count += 1
        if not self.count:
            raise click.UsageError("The file that --from-file names has no reference ids.")

    def __iter__(self) -> Iterator[str]:
        self._checked.seek(0)
        return (line.rstrip("\n") for line in self._checked)


def _ids(source: IO[str]) -> Iterator[str]:
    number = 0
    try:
        while line := source.readline(_MAX_LINE_CHARS):
            number += 1
            text = line.removeprefix("\ufeff").strip()  # with which a spreadsheet begins a file
            if text and not text.startswith("#") and _first_cell(text) != COLUMNS[0]:
                yield _id(text, number)
    except UnicodeDecodeError:
        raise click.UsageError("The file that --from-file names is not text.") from None


def _first_cell(text: str) -> str:
    """Return the first cell of a row of CSV, which is all of a bare id. An id has no commas and no quotes."""
    return text.partition(",")[0].strip('"')


def _id(text: str, number: int) -> str:
    reference_id: object = _first_cell(text)
    if _EXPORTED.match(text):
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):  # it may be nested too deeply to be read
            row = {}
        reference_id = row.get("referenceId")
    if not isinstance(reference_id, str) or reference_time_ms(reference_id) is None:
        raise click.UsageError(f"Line {number} of the file that --from-file names has no reference id.")
    return reference_id
