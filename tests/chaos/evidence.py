"""Evidence that a run leaves: the store's records, the receiver's receipts, and final records that have changed."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis
import requests
from redis.exceptions import RedisClusterException

from relay.errors import Unavailable
from relay.queue import LANES
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import key_in, partition_root
from relay.store.ledger.records import invocation_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.domain.invocation import Invocation
    from tests.chaos.callers import Callers
    from tests.chaos.harness import Harness

#: What a client raises while the store is away; a cluster's client has its own exception.
AWAY = (redis.RedisError, RedisClusterException)
Receipts = dict[str, list[tuple[int, str]]]

PAGE = 2_000
WATCH_S = 0.5
WATCHED = 300  # how many records to look at each time


@dataclass(frozen=True)
class Evidence:
    """What the store and the receiver contain when everything is over."""

    records: dict[str, Invocation]
    receipts: dict[str, list[tuple[int, str]]]
    pending: dict[str, int]
    left: dict[str, int]  # how many alarms, permits, parked calls and waiters remain
    index: int  # how many ids the plugins' indexes contain

    @classmethod
    def collect(
        cls, client: redis.Redis, plugins: Sequence[str], receipts: Receipts, keys: Keyspace = SINGLE
    ) -> Evidence:
        """Collect the evidence about these plugins, which must be all that the store has."""
        refs = [
            ref.decode() for plugin in plugins for ref in client.zrange(keys.of_plugin("plugin_index", plugin), 0, -1)
        ]
        pending = {name: pending_of(client, keys, name) for name in ("count", "bytes")}
        pending["of the plugins"] = sum(
            int(client.get(key_in(keys.root(plugin), "plugin_pending", plugin=plugin)) or 0) for plugin in plugins
        )
        left = _left(client, plugins, keys) | {"waiters": _waiters(client, refs, keys)}
        return cls(records_of(client, refs, keys), receipts, pending, left, len(refs))


def receipts_of(receiver_url: str) -> Receipts:
    """Return what a receiver has counted."""
    answer = requests.get(f"{receiver_url}/_receipts", timeout=120).json()
    return {ref: [(at_ms, what) for at_ms, what in rows] for ref, rows in answer.items()}


def pending_of(client: redis.Redis, keys: Keyspace, name: str = "count") -> int:
    """Return the number of unfinished invocations, as all partitions count them."""
    return sum(
        int(client.hget(key_in(partition_root(number), "pending"), name) or 0) for number in range(keys.partitions)
    )


def records_of(client: redis.Redis, refs: Sequence[str], keys: Keyspace) -> dict[str, Invocation]:
    """Return the records that exist, by reference id."""
    found = {}
    for start in range(0, len(refs), PAGE):
        page = refs[start : start + PAGE]
        pipeline = client.pipeline(transaction=False)
        for ref in page:
            pipeline.hgetall(keys.of_ref("record", ref))
        for ref, fields in zip(page, pipeline.execute(), strict=True):
            if fields:
                found[ref] = invocation_from(ref, keys.of_ref("record", ref), fields)
    return found


def _left(client: redis.Redis, plugins: Sequence[str], keys: Keyspace) -> dict[str, int]:
    partitions = range(keys.partitions)
    alarms = [key_in(partition_root(number), "due_running") for number in partitions]
    alarms += [key_in(partition_root(number), "due_queued", lane=lane) for lane in LANES for number in partitions]
    hooks = [(plugin, hook.decode()) for plugin in plugins for hook in client.hkeys(keys.of_plugin("webhooks", plugin))]
    names = {
        "alarms": alarms,
        "permits": [keys.of_plugin("running", plugin, webhook=hook) for plugin, hook in hooks],
        "parked": [keys.of_plugin("parked", plugin, webhook=hook) for plugin, hook in hooks],
    }
    return {what: sum(client.zcard(key) for key in each) for what, each in names.items()}


def _waiters(client: redis.Redis, refs: Sequence[str], keys: Keyspace) -> int:
    waiting = 0
    for start in range(0, len(refs), PAGE):
        pipeline = client.pipeline(transaction=False)
        for ref in refs[start : start + PAGE]:
            pipeline.hget(keys.of_ref("record", ref), "waiters")
        waiting += sum(bool(waiters) for waiters in pipeline.execute())
    return waiting


@dataclass
class Watch:
    """Checks repeatedly during a run that final records never change."""

    harness: Harness
    callers: Callers
    seed: int
    seen: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    _ending: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()

    def compare(self, records: dict[str, Invocation]) -> None:
        """Compare the watched records with those at the end of the run."""
        for ref, before in self.seen.items():
            record = records.get(ref)
            after = None if record is None else (record.state, record.outcome, record.status, record.finished_at_ms)
            if after != before:
                self.changed.setdefault(ref, (before, after))

    def _run(self) -> None:
        while not self._ending.wait(WATCH_S):
            told = self.callers.told
            chosen = {self._random.choice(told).reference_id for _ in range(WATCHED)} if told else ()
            with suppress(*AWAY, Unavailable):
                for ref, record in self.harness.kept_records(list(chosen)).items():
                    self._look(ref, record)

    def _look(self, ref: str, record: Invocation) -> None:
        now = (record.state, record.outcome, record.status, record.finished_at_ms)
        before = self.seen.setdefault(ref, now) if record.state.final else self.seen.get(ref, now)
        if before != now:
            self.changed.setdefault(ref, (before, now))
