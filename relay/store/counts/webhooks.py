"""How each webhook's calls went in the last five minutes, hour and day, and when one last failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from relay.store.counts.counts import NOTHING_COUNTED, RECENT_MINUTES, Counts, counts_from
from relay.store.counts.notes import HOUR_MS, MINUTE_MS
from relay.store.server.fields import StoredFields
from relay.store.server.replies import replies_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import redis

    from relay.store.keys.keyspace import Keyspace

HOUR_MINUTES: Final = 60
#: Whole hours before the current one that count as the day.
DAY_HOURS: Final = 24
#: How many hashes are read at a time.
_PIECE: Final = 2_000
#: How many webhooks to keep counts of.
_MAX_KNOWN: Final = 1_000
_FIELDS: Final = ("accepted", "delivered", "unreachable", "interrupted", "rejected", "cancelled", "errors")
_NAMES: Final = tuple(name.encode() for name in _FIELDS)

#: Counts by name.
Names = Counter[str]
_NONE: Final = Names()


@dataclass(frozen=True, slots=True)
class WebhookCounts:
    """A webhook's counts; the trends are the parts of hour and day, oldest first."""

    recent: Counts = NOTHING_COUNTED  # of five minutes, the current one among them
    hour: Counts = NOTHING_COUNTED  # of sixty minutes
    day: Counts = NOTHING_COUNTED  # of the current hour and the 24 before it
    hour_trend: Sequence[Counts] = (NOTHING_COUNTED,) * (HOUR_MINUTES // RECENT_MINUTES)  # of five minutes each
    day_trend: Sequence[Counts] = (NOTHING_COUNTED,) * (DAY_HOURS + 1)  # of an hour each
    last_error_ms: int | None = None  # the minute in which a call last ended in error


@dataclass(frozen=True, slots=True)
class CountedWebhooks:
    """The counts of every webhook that had any in the day, which began at ``since_ms``."""

    since_ms: int
    by_webhook: Mapping[str, WebhookCounts] = field(default_factory=dict)


class WebhookCounting:
    """Reads the counts of webhooks, and keeps those of minutes that are over, since every reader needs them again."""

    def __init__(self, client: redis.Redis, keys: Keyspace) -> None:
        self._client: Any = client
        self._keys = keys
        self._known: dict[str, dict[int, Names]] = {}  # by plugin/webhook and minute

    def read(self, plugin: str, now_ms: int) -> CountedWebhooks:
        """Read the counts of a plugin's webhooks, once notes are counted; raise `Unavailable` if the server is away.

        Minutes are read only of webhooks with traffic in this hour or the last, and to find a webhook's last error.
        """
        last = now_ms // HOUR_MS
        hours = range(last - DAY_HOURS, last + 1)
        by_hour = self._hours(plugin, hours)
        minutes = range(now_ms // MINUTE_MS - HOUR_MINUTES + 1, now_ms // MINUTE_MS + 1)
        active = [webhook for webhook, counted in by_hour.items() if last in counted or last - 1 in counted]
        found = self._minutes(plugin, dict.fromkeys(active, minutes), minutes)
        errors = {webhook: _last_error(minutes, found[webhook]) for webhook in active}
        failed_at = {
            webhook: max((hour for hour, names in counted.items() if names["errors"]), default=None)
            for webhook, counted in by_hour.items()
            if errors.get(webhook) is None
        }
        older = {webhook: _minutes_of(hour) for webhook, hour in failed_at.items() if hour is not None}
        rows = self._minutes(plugin, older, minutes)
        errors |= {webhook: _last_error(older[webhook], rows[webhook]) for webhook in older}
        counted = {
            webhook: _counted([names.get(hour, Names()) for hour in hours], found.get(webhook), errors.get(webhook))
            for webhook, names in by_hour.items()
        }
        return CountedWebhooks(hours.start * HOUR_MS, counted)

    def _hours(self, plugin: str, hours: range) -> dict[str, dict[int, Names]]:
        """Return the counts of each webhook, by hour."""
        keys = [self._keys.of_plugin("hour", plugin, hour=hour) for hour in hours]
        rows = replies_to(self._client, [("HGETALL", key) for key in keys])
        found: dict[str, dict[int, Names]] = {}
        for hour, key, fields in zip(hours, keys, rows, strict=True):
            for name, count in StoredFields(key, fields).numbers().items():
                webhook, _, counter = name.partition(":")
                found.setdefault(webhook, {}).setdefault(hour, Names())[counter] += count
        return found

    def _minutes(self, plugin: str, wanted: Mapping[str, range], window: range) -> dict[str, list[Names]]:
        """Return the counts of each webhook in its minutes, in their order; ``window`` is the hour that ends now."""
        known = {webhook: self._known.get(f"{plugin}/{webhook}", {}) for webhook in wanted}
        places = [
            (webhook, minute) for webhook, span in wanted.items() for minute in span if minute not in known[webhook]
        ]
        come: dict[str, dict[int, Names]] = {webhook: {} for webhook in wanted}
        for first in range(0, len(places), _PIECE):
            piece = places[first : first + _PIECE]
            keys = [self._keys.of_plugin("minute", plugin, minute=minute, webhook=webhook) for webhook, minute in piece]
            rows = replies_to(self._client, [("HMGET", key, *_FIELDS) for key in keys])
            for (webhook, minute), key, row in zip(piece, keys, rows, strict=True):
                come[webhook][minute] = _names(key, row)
        found = {webhook: known[webhook] | come[webhook] for webhook in wanted}
        self._keep(plugin, found, wanted, window)
        return {webhook: [found[webhook][minute] for minute in span] for webhook, span in wanted.items()}

    def _keep(
        self, plugin: str, found: Mapping[str, Mapping[int, Names]], wanted: Mapping[str, range], window: range
    ) -> None:
        """Keep the counts of past minutes, except the last two, as the server's clock may go back a little."""
        if len(self._known) + len(found) > _MAX_KNOWN:
            self._known = {}
        for webhook, rows in found.items():
            span = wanted[webhook]
            self._known[f"{plugin}/{webhook}"] = {
                minute: names
                for minute, names in rows.items()
                if minute < window.stop - 2 and (minute in window or minute in span)
            }


def _names(key: str, row: Sequence[Any] | Exception) -> Names:
    fields = row if isinstance(row, Exception) else dict(zip(_NAMES, row, strict=True))
    counted = StoredFields(key, fields).numbers()
    return Names(counted) if counted else _NONE


def _minutes_of(hour: int) -> range:
    first = hour * HOUR_MS // MINUTE_MS
    return range(first, first + HOUR_MINUTES)


def _last_error(minutes: range, rows: Sequence[Names]) -> int | None:
    failed = [minute for minute, names in zip(minutes, rows, strict=True) if names["errors"]]
    return failed[-1] * MINUTE_MS if failed else None


def _counted(hours: Sequence[Names], minutes: Sequence[Names] | None, last_error_ms: int | None) -> WebhookCounts:
    day = WebhookCounts(day=_sum(hours), day_trend=[counts_from(names) for names in hours], last_error_ms=last_error_ms)
    if minutes is None:
        return day
    trend = [_sum(minutes[first : first + RECENT_MINUTES]) for first in range(0, HOUR_MINUTES, RECENT_MINUTES)]
    return replace(day, recent=_sum(minutes[-RECENT_MINUTES:]), hour=_sum(minutes), hour_trend=trend)


def _sum(rows: Iterable[Names]) -> Counts:
    total = Names()
    for names in rows:
        total.update(names)
    return counts_from(total)
