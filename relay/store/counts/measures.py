"""Reads the counts of a plugin's invocations: per minute, per day, and in total.

Scripts only write notes of what happens (``lua/lib/tallies.lua``). Every read of the counts first counts the notes,
so that the counts are exact; workers also count them from time to time, so that there are never many notes.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from relay.store.counts.counts import counts_from
from relay.store.counts.notes import HOUR_MS, MINUTE_MS, STEPS_A_DOUBLING, UNREGISTERED, amounts_of
from relay.store.counts.webhooks import WebhookCounting
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import key_in, partition_root
from relay.store.partitions.plugins import plugins_in
from relay.store.partitions.reachable import ask_groups, ask_partitions
from relay.store.scripting.scripts import Scripts
from relay.store.server.clock import time_ms_at
from relay.store.server.errors import store_errors
from relay.store.server.fields import StoredFields
from relay.store.server.locks import take_lock
from relay.store.server.replies import replies_to

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

    from relay.store.counts.counts import Counts
    from relay.store.counts.webhooks import CountedWebhooks
    from relay.store.partitions.spreading import Spread

#: How far back the counts per minute go, in milliseconds.
DAY_MS: Final = 24 * HOUR_MS
_STEP: Final = re.compile(r"step:(\d{1,3})\Z", re.ASCII)
#: How many notes are counted at a time.
_NOTES: Final = 500
#: How long one worker keeps the others from counting, in milliseconds.
_LOCK_MS: Final = 1_500
#: How long the last batch that a worker added is remembered, in seconds.
_BATCH_KNOWN_S: Final = 3_600
#: How long the counts of a minute or an hour are kept, in seconds.
_KEPT_S: Final = 26 * 3600
_PIECE: Final = 2_000  # how many fields of a plugin's totals are read at a time


def minutes_to(now_ms: int, since_ms: int) -> range:
    """Return the numbers of the minutes from ``since_ms`` to the current one, but only those of the last day."""
    last = now_ms // MINUTE_MS
    return range(max(since_ms // MINUTE_MS, last - DAY_MS // MINUTE_MS + 1), last + 1)


@dataclass(frozen=True, slots=True)
class Minute:
    """The counts of one minute; percentiles are milliseconds from acceptance to end, None if nothing ended."""

    start_ms: int
    counts: Counts
    p50_ms: int | None
    p95_ms: int | None
    p99_ms: int | None


@dataclass(frozen=True, slots=True)
class Sweeps:
    """How many sweeps there were, and how many ids they republished."""

    sweeps: int
    published: int


class Measures:
    """Counts what the scripts noted. Every method raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._client: Any = client
        self._scripts = Scripts(client)
        self._webhooks = WebhookCounting(client, keys)

    def count(self, plugin: str) -> None:
        """Count all notes of a plugin."""
        while self._count_some(plugin) == _NOTES:
            pass

    def count_everything(self) -> None:
        """Count the notes of every plugin, except in partitions where another process is counting."""
        ask_partitions(self._client, self._keys, self._count_partition)

    def _count_partition(self, number: int) -> None:
        with store_errors():
            if not take_lock(self._client, key_in(partition_root(number), "counting_lock"), "1", _LOCK_MS):
                return
            plugins = plugins_in(self._client, number)
            pipeline = self._client.pipeline(transaction=False)
            for plugin in plugins:
                pipeline.exists(self._keys.of_plugin("notes", plugin))
            noted = pipeline.execute() if plugins else []
        for plugin, has_notes in zip(plugins, noted, strict=True):
            if has_notes:
                self.count(plugin)

    def _count_some(self, plugin: str) -> int:
        """Count the oldest notes; return how many there were, even if another process counted them in the meantime."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)  # both reads see the same moment
            pipeline.get(self._keys.of_plugin("counted", plugin))
            pipeline.lrange(self._keys.of_plugin("notes", plugin), 0, _NOTES - 1)
            before, notes = pipeline.execute()
        if not notes:
            return 0
        args: list[Any] = [plugin, b"0" if before is None else before, len(notes), _KEPT_S]
        for place, amounts in amounts_of(notes).items():
            args += [*place, len(amounts)]
            for field, amount in amounts.items():
                args += [field, amount]
        self._scripts.run("count_notes", args, self._keys.root(plugin))
        return len(notes)

    def minutes(self, plugin: str, since_ms: int | None = None, webhook_id: str = "") -> list[Minute]:
        """Return every minute from ``since_ms`` (by default an hour ago) to the current one, at most a day's.

        Counts one webhook, or all of them if ``webhook_id`` is empty.
        """
        self.count(plugin)
        now_ms = time_ms_at(self._client, self._keys.root(plugin))
        numbers = minutes_to(now_ms, now_ms - HOUR_MS if since_ms is None else since_ms)
        found = self._numbers([self._minute_key(plugin, number, webhook_id) for number in numbers])
        return [_minute(number * MINUTE_MS, counts) for number, counts in zip(numbers, found, strict=True)]

    def recent(self, plugin: str, minutes: int) -> dict[str, Counts]:
        """Return the counts of the last minutes for each webhook that had an error in this hour or the one before."""
        self.count(plugin)
        now_ms = time_ms_at(self._client, self._keys.root(plugin))
        last = now_ms // HOUR_MS
        hours = self._numbers([self._keys.of_plugin("hour", plugin, hour=hour) for hour in (last - 1, last)])
        fields = {field for counts in hours for field in counts}
        webhooks = sorted(field.removesuffix(":errors") for field in fields if field.endswith(":errors"))
        numbers = range(now_ms // MINUTE_MS - minutes + 1, now_ms // MINUTE_MS + 1)
        rows = self._numbers([self._minute_key(plugin, number, webhook) for webhook in webhooks for number in numbers])
        counted: dict[str, Counts] = {}
        for index, webhook in enumerate(webhooks):
            names: Counter[str] = Counter()
            for row in rows[index * minutes : (index + 1) * minutes]:
                names.update(row)
            counted[webhook] = counts_from(names)
        return counted

    def webhooks(self, plugin: str) -> CountedWebhooks:
        """Return the counts of each webhook in the last five minutes, hour and day."""
        self.count(plugin)
        return self._webhooks.read(plugin, time_ms_at(self._client, self._keys.root(plugin)))

    def totals(self, plugin: str) -> dict[tuple[str, str], int]:
        """Return all counts of a plugin since its first call, by webhook and name (``relay.store.counts.notes``).

        The webhook is empty for names that callers used but nobody has registered.
        """
        self.count(plugin)
        key = self._keys.of_plugin("totals", plugin)
        with store_errors():
            found = dict(self._client.hscan_iter(key, count=_PIECE))
        totals: dict[tuple[str, str], int] = {}
        for field, count in StoredFields(key, found).numbers().items():
            webhook, _, name = field.partition(":")
            totals["" if webhook == UNREGISTERED else webhook, name] = count
        return totals

    def add(self, plugin: str, process: str, batch: str, amounts: Mapping[str, int]) -> None:
        """Add the amounts that a worker has gathered to a plugin's totals; a repeated batch counts only once."""
        pairs = [item for pair in amounts.items() for item in pair]
        self._scripts.run("add_gathered", [plugin, process, batch, _BATCH_KNOWN_S, *pairs], self._keys.root(plugin))

    def add_all(self, process: str, batches: Mapping[str, tuple[str, Mapping[str, int]]]) -> list[str]:
        """Add batches, by plugin, like `add`; return the plugins whose partition did not answer."""

        def add(group: Spread[str]) -> None:
            for plugin in group.items:
                self.add(plugin, process, *batches[plugin])

        return ask_groups(self._client, list(batches), self._keys.root, add)[1]

    def name_webhooks(self, order: Sequence[str], *, at_most: int) -> frozenset[str]:
        """Return which of these webhooks (``plugin/webhook``) metrics name individually.

        A webhook that was named once stays named; free places are assigned in this order.
        """
        found = self._scripts.run("name_webhooks", [at_most, *order])
        return frozenset(name.decode() for name in found)

    def sweeps(self) -> Sweeps | None:
        """Return the numbers of sweeps, and of ids that they published, over all workers; None if any is unknown."""
        found = ask_partitions(
            self._client, self._keys, lambda number: self._numbers([key_in(partition_root(number), "sweeps")])[0]
        )
        if not found.complete:
            return None  # a sum without some of them would be lower than before
        return Sweeps(sum(each.get("sweeps", 0) for each in found), sum(each.get("published", 0) for each in found))

    def _numbers(self, keys: Sequence[str]) -> list[dict[str, int]]:
        """Read hashes of numbers; damaged ones are left out."""
        replies = replies_to(self._client, [("HGETALL", key) for key in keys])
        return [StoredFields(key, fields).numbers() for key, fields in zip(keys, replies, strict=True)]

    def _minute_key(self, plugin: str, minute: int, webhook_id: str) -> str:
        return self._keys.of_plugin("minute", plugin, minute=minute, webhook=webhook_id)


def _minute(start_ms: int, counts: Mapping[str, int]) -> Minute:
    names = Counter(counts)
    steps = sorted((int(step[1]), count) for name, count in names.items() if (step := _STEP.match(name)))
    p50, p95, p99 = (percentile_ms(steps, share) for share in (0.50, 0.95, 0.99))
    return Minute(start_ms, counts_from(names), p50, p95, p99)


def percentile_ms(steps: list[tuple[int, int]], share: float) -> int | None:
    """Return a percentile of a histogram, ``(step, count)`` in order with four steps per doubling; at most 19% off."""
    total = sum(count for _, count in steps)
    rank, seen = share * total, 0
    for step, count in steps:
        if seen + count >= rank:
            low, high = _limit_ms(step - 1) if step else 0.0, _limit_ms(step)
            return round(low + (high - low) * (rank - seen) / count)
        seen += count
    return None


def _limit_ms(step: int) -> float:
    return float(2 ** (step / STEPS_A_DOUBLING))
