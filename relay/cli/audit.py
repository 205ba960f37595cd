"""``relay audit``: the trail of who did what, exported, checked and followed."""

from __future__ import annotations

import time
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

import click

from relay.audit.entry import Act, line_of
from relay.audit.lines import lines_of
from relay.audit.signing_keys import AuditSigner, PublicKeys, new_private_text
from relay.cli.audit_entries import Wanted, entry_options, in_order, newest, take_wanted
from relay.cli.audit_verdicts import Verdicts, verdict_row
from relay.cli.command import acting, command_runtime
from relay.cli.export import opened_file
from relay.cli.names import check_plugin
from relay.cli.output import EXIT_FAILED, Screen, as_json, facts_of, safe, screened, showing, table_of
from relay.errors import BadParameter, SettingsError, Unavailable
from relay.store.trail.trail import Trail, every_trail, trails
from relay.text.similar import hint

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from relay.wiring.runtime import Runtime

T = TypeVar("T")

_LOOK_S: Final = 0.5  # between two looks
_COLUMNS: Final = ("trail", "good", "first", "last", "unsigned", "checkpoints", "signedAt")
_KEY = click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of public keys, one a line (audit.pub) [default: those of RELAY_AUDIT_KEY].",
)


@click.group()
def audit() -> None:
    """The audit trail: who did what, when, with what outcome."""


@audit.command()
@click.option("--file", "path", type=click.Path(dir_okay=False), help="Write to this file [default: standard output].")
@screened
def export(screen: Screen, path: str | None) -> None:
    """Write the whole trail, with its checkpoints, as JSON lines. It can then be checked elsewhere.

    With --file, a summary is shown, in the form that --output gives. An earlier export there is replaced only by a
    complete one.
    """
    runtime = command_runtime()
    with runtime.audit_writer.writing(Act.AUDIT_EXPORT), opened_file(path) as file:
        _refuse_silent(every_trail(runtime.client, runtime.keyspace, Trail.last_number).silent)  # write nothing then
        found = every_trail(runtime.client, runtime.keyspace, lambda trail: _write(trail, file))
        _refuse_silent(found.silent)
    if path is not None:
        said = {"file": path, "entries": sum(found)}
        screen.show(said, lambda: facts_of(said.items()))


@audit.command()
@click.argument("file", type=click.File("rb"), required=False)
@_KEY
@click.option(
    "--after",
    type=click.File("rb"),
    help="An earlier export: its entries must still be there, or be past their retention.",
)
@screened
def verify(screen: Screen, file: IO[bytes] | None, key_file: Path | None, after: IO[bytes] | None) -> None:
    """Check the trail, on the server or in the FILE of an export. FILE may be gzipped.

    Names the first entry that was edited, removed, inserted or moved, and the first checkpoint that is forged.
    """
    verdicts = Verdicts(_keys(key_file), after)
    if file is not None:
        found = verdicts.on_file(file)
    else:
        runtime = command_runtime()
        with runtime.audit_writer.writing(Act.AUDIT_VERIFY):
            found = verdicts.on_server(runtime)
    rows = [verdict_row(name, each) for name, each in found.items()]
    screen.show(rows, lambda: table_of(_COLUMNS, ([row[column] for column in _COLUMNS] for row in rows)))
    wrong = [f"Trail {name}: {each.wrong.sentence}" for name, each in found.items() if each.wrong is not None]
    for sentence in wrong:
        screen.note(sentence)
    if wrong:
        raise click.exceptions.Exit(EXIT_FAILED)


@audit.command("list")
@entry_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Show at most this many.")
@acting(Act.AUDIT_LIST)
def list_entries(screen: Screen, *, limit: int, **options: Any) -> None:
    """Show entries of the trail, newest first."""
    runtime, wanted = command_runtime(), take_wanted(options)
    _check_plugin(runtime, wanted)
    runtime.audit_writer.write(Act.AUDIT_LIST)
    answers = every_trail(
        runtime.client, runtime.keyspace, lambda trail: newest(trail, trail.last_number(), wanted, limit)
    )
    rows = in_order(chain.from_iterable(answers))[: -limit - 1 : -1]
    screen.tell(rows, *([_words(row) for row in rows] or ["No entry matches."]))
    _fail_if_silent(screen, answers.silent)


@audit.command()
@entry_options
@click.option(
    "--lines", type=click.IntRange(0, 10_000), default=10, show_default=True, help="Show this many earlier ones first."
)
@click.option(
    "--from",
    "begins",
    type=(str, click.IntRange(min=1)),
    multiple=True,
    metavar="TRAIL SEQ",
    help="Start at entry SEQ of TRAIL instead; once for each trail.",
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Show new entries as they come.")
@acting(Act.AUDIT_TAIL)
def tail(screen: Screen, *, lines: int, begins: tuple[tuple[str, int], ...], follow: bool, **options: Any) -> None:
    """Follow the trail: a line for each entry that matches, as it comes. Ctrl-C stops it.

    With --output json each is a line of JSON, with its number, from which --from can go on later.
    """
    runtime, wanted = command_runtime(), take_wanted(options)
    _check_trails([name for name, _ in begins], [trail.name for trail in trails(runtime.client, runtime.keyspace)])
    _check_plugin(runtime, wanted)
    following = _Following(runtime, wanted, {name: seq - 1 for name, seq in begins})
    first = following.first(screen, lines)
    runtime.audit_writer.write(Act.AUDIT_TAIL)
    try:
        for line in chain(first, following.lines(screen, follow=follow)):
            with showing():
                click.echo(as_json(line, indent=None) if screen.is_json else safe(_words(line)))
    except (KeyboardInterrupt, BrokenPipeError):
        return
    if following.silent:
        raise click.exceptions.Exit(EXIT_FAILED)


@audit.command()
@click.option("--new", "is_new", is_flag=True, help="Create a new private key instead, for RELAY_AUDIT_KEY.")
@screened
def key(screen: Screen, *, is_new: bool) -> None:
    """Show the public keys that verify checkpoints, one per line."""
    text = new_private_text() if is_new else _signer(command_runtime()).public.text()
    keys = text.split()
    screen.tell(keys, *keys)


def _check_plugin(runtime: Runtime, wanted: Wanted) -> None:
    if wanted.plugin is not None:
        check_plugin(runtime, wanted.plugin, has_records=True)


def _check_trails(named: list[str], known: list[str]) -> None:
    for name in named:
        if name not in known:
            raise BadParameter(f"There is no trail `{name}`: the trails are {', '.join(known)}{hint(name, known)}")


def _write(trail: Trail, file: IO[str]) -> int:
    """Write a trail as lines; return the number of its entries."""
    count = 0
    for line in lines_of(trail.name, trail.beginning(), trail.blocks()):
        file.write(as_json(line, indent=None) + "\n")
        count += "seq" in line
    return count


def _refuse_silent(silent: Collection[str]) -> None:
    """Raise `Unavailable` if trails did not answer."""
    if silent:
        raise Unavailable(f"An export has every trail, and these did not answer: {', '.join(silent)}.")


def _fail_if_silent(screen: Screen, silent: Collection[str]) -> None:
    for name in silent:
        screen.note(_silence(name))
    if silent:
        raise click.exceptions.Exit(EXIT_FAILED)


def _silence(name: str) -> str:
    return f"Trail {name}: it did not answer, and its entries are missing here."


def _keys(key_file: Path | None) -> PublicKeys:
    if key_file is None:
        return _signer(command_runtime()).public
    try:
        return PublicKeys.from_text(key_file.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        raise BadParameter("The file that --key names does not hold public keys.") from None


def _signer(runtime: Runtime) -> AuditSigner:
    key_text = runtime.settings.audit_key
    if key_text is None:
        raise SettingsError("RELAY_AUDIT_KEY is not set: nothing is signed. `relay audit key --new` makes a key.")
    return AuditSigner(key_text.reveal())


class _Following:
    """Follows all trails, each from its own place on; one that does not answer is followed when it does."""

    def __init__(self, runtime: Runtime, wanted: Wanted, places: dict[str, int]) -> None:
        self._runtime = runtime
        self._wanted = wanted
        self._places = places  # by trail, the number of the last entry that was looked at
        self.silent: set[str] = set()

    def first(self, screen: Screen, most: int) -> list[dict[str, Any]]:
        """Return the newest entries of the trails without a place, at most ``most``, and follow these from there on."""
        found = self._ask(screen, lambda trail: self._newest(trail, most))
        return in_order(chain.from_iterable(found))[-most:]  # with 0, no trail has given any

    def lines(self, screen: Screen, *, follow: bool) -> Iterator[dict[str, Any]]:
        """Yield the next entries of all trails as lines; those of each trail are in order."""
        while True:
            found = list(chain.from_iterable(self._ask(screen, self._next)))
            yield from in_order(line for line, takes in found if takes)
            if not found:
                if not follow:
                    return
                time.sleep(_LOOK_S)

    def _ask(self, screen: Screen, act: Callable[[Trail], T]) -> list[T]:
        answers = every_trail(self._runtime.client, self._runtime.keyspace, act)
        for name in answers.silent.keys() - self.silent:
            screen.note(_silence(name))
        self.silent = set(answers.silent)
        return list(answers)

    def _newest(self, trail: Trail, most: int) -> list[dict[str, Any]]:
        if trail.name in self._places:
            return []
        self._places[trail.name] = last = trail.last_number()
        return newest(trail, last, self._wanted, most)

    def _next(self, trail: Trail) -> list[tuple[dict[str, Any], bool]]:
        """Return the trail's next entries as lines, with whether each is wanted."""
        entries = trail.after(self._places.setdefault(trail.name, trail.last_number()))
        if entries:
            self._places[trail.name] = entries[-1][0]
        return [({"trail": trail.name, **line_of(number, raw)}, self._wanted.takes(raw)) for number, raw in entries]


def _words(line: dict[str, Any]) -> str:
    """Return a line for people: when, who, what and how it ended."""
    who = line.get("operator") or line.get("key") or "-"
    about = "/".join(str(line[name]) for name in ("plugin", "subject") if name in line)
    count = f"{line['count']} times" if line.get("count", 1) > 1 else ""
    references = " ".join(line.get("references", ()))
    words = [line.get("at", line.get("raw", "")), who, line.get("act", ""), about, line.get("outcome", "")]
    return "  ".join(filter(None, [f"{line['trail']}:{line['seq']}", *words, count, references]))
