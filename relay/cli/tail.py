"""``relay invocations tail``: shows new invocations, and their ends, as they come."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from relay.audit.entry import Act
from relay.cli.command import acting, command_runtime
from relay.cli.filters import filter_options, matches_end, take_filter
from relay.cli.names import check_filter
from relay.cli.output import Screen, as_json, moment, safe, showing
from relay.cli.parameters import plugin_option
from relay.errors import Expired, NotFound, Unavailable
from relay.views import row_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.domain.invocation import Invocation
    from relay.store.ledger.listing import Filter
    from relay.wiring.runtime import Runtime

_LOOK_S: Final = 0.5  # between two looks
#: The most unfinished invocations (the newest) whose ends are awaited, and the most new rows that one look reads.
MAX_WATCHED: Final = 200
MAX_NEW: Final = 2_000


class Watch:
    """Finds what a plugin's invocations have done since the last look.

    A look reads the rows that are new, and again those that had not ended; its cost does not depend on the length of
    the plugin's history.
    """

    def __init__(self, runtime: Runtime, plugin: str, wanted: Filter) -> None:
        self._listing = runtime.listing
        self._store = runtime.store
        self._plugin = plugin
        self._wanted = wanted
        #: The filter without conditions on the end, which unfinished invocations may come to match.
        self._coming = replace(wanted, states=frozenset(), status=(), outcome=None, error=None)
        self._watched: dict[str, bool] = {}  # reference id -> whether it was shown, oldest first
        self._newest_ms = 0
        self._at_newest: set[str] = set()  # reference ids of that millisecond that were read already

    def begin(self, lines: int) -> list[Invocation]:
        """Return the newest invocations that match, oldest first; watch the unfinished ones from now on."""
        rows = self._newest(self._coming, MAX_WATCHED)
        shown = self._newest(self._wanted, lines)
        refs = {each.reference_id for each in shown}
        for row in reversed(rows):
            self._take(row, shown=row.reference_id in refs)
        return shown[::-1]

    def look(self) -> Iterator[Invocation]:
        """Yield the matching invocations that have ended or come to match, and then the new ones.

        Each as soon as it is found: it is not found again if the store goes away before the end of the look.
        """
        yield from self._changed()
        yield from self._new()

    def _changed(self) -> Iterator[Invocation]:
        for reference_id, was_shown in list(self._watched.items()):
            try:
                invocation = self._store.find(reference_id)
            except (NotFound, Expired):
                del self._watched[reference_id]
                continue
            matches = matches_end(self._wanted, invocation)
            if invocation.final:
                del self._watched[reference_id]
            elif matches:
                self._watched[reference_id] = True
            if matches and (invocation.final or not was_shown):
                yield invocation

    def _new(self) -> Iterator[Invocation]:
        since = replace(self._coming, since_ms=max(self._newest_ms, self._coming.since_ms or 0))
        for row in reversed(self._newest(since, MAX_NEW)):
            if row.created_at_ms == self._newest_ms and row.reference_id in self._at_newest:
                continue
            matches = matches_end(self._wanted, row)
            self._take(row, shown=matches)
            if matches:
                yield row

    def _newest(self, wanted: Filter, most: int) -> list[Invocation]:
        return list(islice(self._listing.every(self._plugin, wanted), most))

    def _take(self, row: Invocation, *, shown: bool) -> None:
        if row.created_at_ms != self._newest_ms:
            self._newest_ms, self._at_newest = row.created_at_ms, set()
        self._at_newest.add(row.reference_id)
        if not row.final:
            self._watched[row.reference_id] = shown
            if len(self._watched) > MAX_WATCHED:
                del self._watched[next(iter(self._watched))]


@click.command()
@plugin_option()
@filter_options
@click.option(
    "--lines",
    type=click.IntRange(0, MAX_WATCHED),
    default=10,
    show_default=True,
    help="Show this many earlier ones first.",
)
@acting(Act.LIST)
def tail(screen: Screen, *, plugin: str, lines: int, **options: Any) -> None:
    """Follow a plugin's invocations. A line is shown for each new one, and one when it ends. Ctrl-C stops it.

    With --output json every line is a row.
    """
    runtime = command_runtime()
    wanted = take_filter(runtime, plugin, options)
    check_filter(runtime, plugin, wanted)
    runtime.audit_writer.write(Act.LIST, plugin=plugin)
    watch = Watch(runtime, plugin, wanted)
    try:
        for invocation in _follow(watch, lines, screen):
            row = row_of(invocation)
            with showing():
                click.echo(as_json(row, indent=None) if screen.is_json else _line(row))
    except KeyboardInterrupt:
        return


def _follow(watch: Watch, lines: int, screen: Screen) -> Iterator[Invocation]:
    yield from watch.begin(lines)
    away = False
    while True:
        time.sleep(_LOOK_S)
        try:
            yield from watch.look()
            away = False
        except Unavailable as error:  # the store may come back
            if not away:
                screen.note(error.message)
            away = True


def _line(row: dict[str, Any]) -> str:
    result = row["result"] or {"status": ""}
    ended = row["finishedAt"] is not None
    outcome = row["attempts"][-1]["outcome"] if row["attempts"] else ""
    damaged = row.get("damaged")
    words = [
        str(moment(row["finishedAt"] if ended else row["createdAt"])),
        row["referenceId"],
        f"{row['state'] or 'damaged':<11}",
        f"{result['status']!s:>3}",
        row["webhookId"],
        "" if outcome == "answered" else outcome,
        f"damaged: {', '.join(damaged)}" if damaged else "",
    ]
    return safe("  ".join(words).rstrip())
