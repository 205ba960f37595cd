"""The options that select entries of the audit trail, and the newest entries that they select."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from relay.audit.entry import Act, AuditEntry, entry_from, line_of, operator_text
from relay.cli.filters import time_options
from relay.cli.parameters import read_id, together

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.store.trail.trail import Trail

#: How far entries may be out of order after a jump of the server's clock.
_DISORDER_MS: Final = 86_400_000
_ACTS: Final = [str(act) for act in Act]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries to select; None selects all. Both times are inclusive."""

    plugin: str | None
    subject: str | None
    act: str | None
    actor: str | None  # the id of a key, or an operator's name
    outcome: str | None
    since_ms: int | None
    until_ms: int | None

    def takes(self, raw: bytes) -> bool:
        """Return whether an entry is selected; one that no relay wrote is so only if everything is."""
        entry = entry_from(raw)
        return self == EVERYTHING if entry is None else self._takes(entry)

    def _takes(self, entry: AuditEntry) -> bool:
        return (
            self.plugin in {None, entry.plugin}
            and self.subject in {None, entry.subject}
            and self.act in {None, entry.act}
            and (self.actor is None or entry.who in {self.actor, operator_text(self.actor)})
            and self.outcome in {None, entry.outcome}
            and (self.since_ms or 0) <= entry.at_ms <= (entry.at_ms if self.until_ms is None else self.until_ms)
        )

    def is_past(self, raw: bytes) -> bool:
        """Return whether an entry is so much older than the wanted ones that none before it is wanted."""
        entry = entry_from(raw)
        return entry is not None and self.since_ms is not None and entry.at_ms < self.since_ms - _DISORDER_MS


EVERYTHING: Final = Wanted(None, None, None, None, None, None, None)


#: The options that select entries, for `take_wanted`.
entry_options: Final = together(
    click.option("--plugin", type=read_id, metavar="ID", help="Only about this plugin."),
    click.option("--subject", help="Only about this: the id of a webhook, key or replay, or a route."),
    click.option("--act", type=click.Choice(_ACTS), metavar="ACT", help="Only this act, such as webhook_apply."),
    click.option("--actor", help="Only by this operator, or by the API key with this id."),
    click.option("--outcome", help="Only with this outcome: created, done, or the code of an error."),
    time_options("Since this time, or since 15m, 2h, 7d ago.", "Until this time."),
)


def take_wanted(options: dict[str, Any]) -> Wanted:
    """Return what the options of `entry_options` select, and remove these from ``options``."""
    return Wanted(**{name: options.pop(name) for name in Wanted.__slots__})


def newest(trail: Trail, last: int, wanted: Wanted, most: int) -> list[dict[str, Any]]:
    """Return the newest ``most`` selected entries of a trail up to number ``last``, as lines."""
    return list(islice(_selected(trail, last, wanted), most))


def in_order(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return lines of several trails, the oldest first."""
    return sorted(lines, key=lambda line: (str(line.get("at", "")), line["trail"], line["seq"]))


def _selected(trail: Trail, last: int, wanted: Wanted) -> Iterator[dict[str, Any]]:
    for number, raw in trail.newest_first():
        if wanted.is_past(raw):
            return
        if number <= last and wanted.takes(raw):
            yield {"trail": trail.name, **line_of(number, raw)}
