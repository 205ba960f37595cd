"""``relay invocations export``: records for other programs, a page at a time."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from relay.audit.entry import Act
from relay.cli.command import command_runtime, refusals
from relay.cli.filters import filter_options, take_filter
from relay.cli.names import check_filter
from relay.cli.output import Screen, as_json, facts_of, safe, screened, showing
from relay.cli.parameters import plugin_option
from relay.errors import NotFound, VaultError
from relay.vault import payload_owner, result_owner
from relay.views import row_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.domain.invocation import Invocation
    from relay.wiring.runtime import Runtime

#: The columns of CSV. ``payload`` and ``data`` are there only with --with-payload.
COLUMNS: Final = (
    "referenceId", "webhookId", "revision", "state", "createdAt", "finishedAt", "attempts", "outcome", "status",
    "error", "requestBytes", "responseBytes", "caller", "replayOf", "replayedBy", "chain", "expiresAt",
    "damaged",
)  # fmt: skip
CONTENTS: Final = ("payload", "data")
# What a spreadsheet takes for the beginning of a formula, even after blanks, which it drops (OWASP, CSV injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@click.command()
@plugin_option()
@filter_options
@click.option("--format", "kind", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option("--file", "path", type=click.Path(dir_okay=False), help="Write to this file [default: standard output].")
@click.option("--with-payload", is_flag=True, help="Include payloads and results: needs RELAY_DATA_KEYS.")
@screened
def export(screen: Screen, *, plugin: str, kind: str, path: str | None, with_payload: bool, **options: Any) -> None:
    """Export a plugin's invocations, newest first, as JSON lines or CSV.

    With --file, a summary is shown, in the form that --output gives.
    """
    runtime = command_runtime()
    wanted = take_filter(runtime, plugin, options)
    about = "contents" if with_payload else "records"
    with refusals(Act.EXPORT, plugin, about):
        contents = Contents(runtime) if with_payload else None
        check_filter(runtime, plugin, wanted)
    found = runtime.listing.every(plugin, wanted)
    rows = (row_of(each) | (contents.of(each) if contents else {}) for each in found)
    with runtime.audit_writer.writing(Act.EXPORT, plugin=plugin, subject=about), opened_file(path) as file:
        count = (_write_csv if kind == "csv" else _write_lines)(file, rows, with_payload)
    if contents and contents.closed:
        screen.note(f"{contents.closed} contents are left out: RELAY_DATA_KEYS does not hold the keys that open them.")
    if path is not None:
        said = {"file": path, "rows": count}
        screen.show(said, lambda: facts_of(said.items()))


class Contents:
    """Opens payloads and results with the data keys; to make one without data keys raises `SettingsError`."""

    def __init__(self, runtime: Runtime) -> None:
        self._vault = runtime.data_vault
        self._store = runtime.store
        self._registry = runtime.registry
        self.closed = 0  # how many did not open

    def of(self, invocation: Invocation) -> dict[str, Any]:
        """Return ``{payload, data}``: the trigger and the answer's data, each None if missing or not to be opened.

        The payload of a chain's step is left out: it may hold answers of endpoints as they came, secrets included.
        """
        ref, plugin = invocation.reference_id, invocation.plugin
        owner = payload_owner(plugin, ref, invocation.purpose, self._stamp_of(invocation))
        payload = self._opened(self._store.payload_of(ref), owner) if invocation.step_of is None else None
        return {"payload": payload, "data": self._opened(self._store.result_of(ref), result_owner(plugin, ref))}

    def _stamp_of(self, invocation: Invocation) -> str:
        try:
            return self._registry.revision(invocation.plugin, invocation.webhook_id, invocation.revision).stamp
        except NotFound:
            return ""

    def _opened(self, sealed: bytes | None, owner: str) -> Any:
        if not sealed:
            return None
        with suppress(VaultError):
            return json.loads(self._vault.open(sealed, owner))
        self.closed += 1
        return None


@contextmanager
def opened_file(path: str | None) -> Iterator[IO[str]]:
    """Open a file for writing; without a path, yield standard output.

    A regular file is replaced at the end, unless an error is raised inside, and is readable by its owner only.
    """
    if path is None:
        with showing():
            yield sys.stdout
            sys.stdout.flush()
        return
    place = Path(path)
    with ExitStack() as stack:
        try:
            is_special = place.exists() and not place.is_file()  # a pipe, a terminal, /dev/null
            opening = place.open("w", encoding="utf-8", newline="") if is_special else _replacing(place.resolve())
            file = stack.enter_context(opening)
        except OSError:
            raise click.UsageError("The file that --file names cannot be written.") from None
        yield file


@contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """Yield a new file, which takes the path at the end; each of several exports at once has one of its own."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", prefix=f"{path.name}.", suffix=".partial", dir=path.parent, delete=False
    ) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        finally:
            Path(file.name).unlink(missing_ok=True)


def _write_lines(file: IO[str], rows: Iterator[dict[str, Any]], with_payload: bool) -> int:  # noqa: ARG001 - as CSV
    count = 0
    for row in rows:
        file.write(as_json(row, indent=None) + "\n")
        count += 1
    return count


def _write_csv(file: IO[str], rows: Iterator[dict[str, Any]], with_payload: bool) -> int:
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS + (CONTENTS if with_payload else ()))
    count = 0
    for row in rows:
        writer.writerow([_cell(value) for value in _values(row, with_payload)])
        count += 1
    return count


def _values(row: dict[str, Any], with_payload: bool) -> Iterator[Any]:
    attempts, result = row["attempts"], row["result"] or {}
    flat = row | {
        "attempts": len(attempts),
        "outcome": attempts[-1]["outcome"] if attempts else None,
        "status": result.get("status"),
        "error": result.get("error"),
        "damaged": " ".join(row.get("damaged", ())),
    }
    yield from (flat[name] for name in COLUMNS)
    if with_payload:
        yield from (None if row[name] is None else as_json(row[name], indent=None) for name in CONTENTS)


def _cell(value: Any) -> str:
    """Return a cell that no spreadsheet takes for a formula, and that acts on no terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = as_json(value, indent=None) if isinstance(value, dict | list) else str(value)
    return safe(f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text)
