"""How each webhook's calls went in the last five minutes, hour and day, and when one failed last."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from relay.store.counts.counts import NOTHING_COUNTED, RECENT_MINUTES, Counts, counts_from
from relay.store.counts.notes import HOUR_MS, MINUTE_MS
from relay.store.server.errors import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import redis

    from relay.store.keys.keyspace import Keyspace

HOUR_MINUTES: Final = 60
#: Whole hours before the current one that count as the day.
DAY_HOURS: Final = 24
#: How many hashes are read at a time.
_PIECE: Final = 2_000
_FIELDS: Final = ("accepted", "delivered", "unreachable", "interrupted", "rejected", "cancelled", "errors")

#: Counts by name.
Names = Counter[str]


@dataclass(frozen=True, slots=True)
class WebhookCounts:
    """A webhook's counts; the trends are the parts of hour and day, oldest first."""

    recent: Counts = NOTHING_COUNTED  # of five minutes, the current one among them
    hour: Counts = NOTHING_COUNTED  # of sixty minutes
    day: Counts = NOTHING_COUNTED  # of the current hour and the 24 before it
    hour_trend: Sequence[Counts] = (NOTHING_COUNTED,) * (HOUR_MINUTES // RECENT_MINUTES)  # of five minutes each
    day_trend: Sequence[Counts] = (NOTHING_COUNTED,) * (DAY_HOURS + 1)  # of an hour each
    last_error_ms: int | None = None  # the minute in which a call ended in error last


@dataclass(frozen=True, slots=True)
class CountedWebhooks:
    """The counts of every webhook that had any in the day, which began at ``since_ms``."""

    since_ms: int
    by_webhook: Mapping[str, WebhookCounts] = field(default_factory=dict)


def count_webhooks(client: redis.Redis, keys: Keyspace, plugin: str, now_ms: int) -> CountedWebhooks:
    """Read the counts of a plugin's webhooks; raise `Unavailable` while the server is away.

    Minutes are read of a webhook only if it had traffic in this hour or the last, or to find its last error.
    """
    reading = _CountReading(client, keys, plugin)
    last = now_ms // HOUR_MS
    hours = range(last - DAY_HOURS, last + 1)
    by_hour = reading.hours(hours)
    minutes = range(now_ms // MINUTE_MS - HOUR_MINUTES + 1, now_ms // MINUTE_MS + 1)
    active = [webhook for webhook, counted in by_hour.items() if last in counted or last - 1 in counted]
    found = reading.minutes(dict.fromkeys(active, minutes))
    errors = {webhook: _last_error(minutes, found[webhook]) for webhook in active}
    failed_at = {
        webhook: max((hour for hour, names in counted.items() if names["errors"]), default=None)
        for webhook, counted in by_hour.items()
        if errors.get(webhook) is None
    }
    older = {webhook: _minutes_of(hour) for webhook, hour in failed_at.items() if hour is not None}
    errors |= {webhook: _last_error(older[webhook], rows) for webhook, rows in reading.minutes(older).items()}
    counted = {
        webhook: _counted([names.get(hour, Names()) for hour in hours], found.get(webhook), errors.get(webhook))
        for webhook, names in by_hour.items()
    }
    return CountedWebhooks(hours.start * HOUR_MS, counted)


class _CountReading:
    """Reads hashes of counts, many at a time."""

    def __init__(self, client: redis.Redis, keys: Keyspace, plugin: str) -> None:
        self._client: Any = client
        self._keys = keys
        self._plugin = plugin

    def hours(self, hours: range) -> dict[str, dict[int, Names]]:
        """Return the counts of each webhook, by hour."""
        pipeline = self._client.pipeline(transaction=False)
        for hour in hours:
            pipeline.hgetall(self._keys.hour(self._plugin, hour))
        with store_errors():
            rows = pipeline.execute()
        found: dict[str, dict[int, Names]] = {}
        for hour, fields in zip(hours, rows, strict=True):
            for name, count in fields.items():
                webhook, _, counter = name.decode().partition(":")
                found.setdefault(webhook, {}).setdefault(hour, Names())[counter] += int(count)
        return found

    def minutes(self, wanted: Mapping[str, range]) -> dict[str, list[Names]]:
        """Return the counts of each webhook in its minutes, in their order."""
        places = [(webhook, minute) for webhook, minutes in wanted.items() for minute in minutes]
        found: dict[str, list[Names]] = {webhook: [] for webhook in wanted}
        for first in range(0, len(places), _PIECE):
            pipeline = self._client.pipeline(transaction=False)
            piece = places[first : first + _PIECE]
            for webhook, minute in piece:
                pipeline.hmget(self._keys.minute(self._plugin, minute, webhook), _FIELDS)
            with store_errors():
                rows = pipeline.execute()
            for (webhook, _), row in zip(piece, rows, strict=True):
                found[webhook].append(_names(row))
        return found


def _names(row: Iterable[bytes | None]) -> Names:
    return Names({name: int(count) for name, count in zip(_FIELDS, row, strict=True) if count})


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
    return WebhookCounts(
        recent=_sum(minutes[-RECENT_MINUTES:]),
        hour=_sum(minutes),
        day=day.day,
        hour_trend=[_sum(minutes[first : first + RECENT_MINUTES]) for first in range(0, HOUR_MINUTES, RECENT_MINUTES)],
        day_trend=day.day_trend,
        last_error_ms=last_error_ms,
    )


def _sum(rows: Iterable[Names]) -> Counts:
    total = Names()
    for names in rows:
        total.update(names)
    return counts_from(total)
