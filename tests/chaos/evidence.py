"""What a run left behind: the records of the store, the receipts of the receiver, and what changed that must not."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis
import requests

from relay.store import keyspace
from relay.store.records import invocation_from
from tests.chaos.plan import BY_ID, PLUGIN

if TYPE_CHECKING:
    from relay.invocation import Invocation
    from tests.chaos.callers import Callers
    from tests.chaos.harness import Harness

PAGE = 2_000
WATCH_S = 0.5
WATCHED = 300  # records looked at each time


@dataclass(frozen=True)
class Evidence:
    """Read when everything is over."""

    records: dict[str, Invocation]
    receipts: dict[str, list[tuple[int, str]]]
    pending: dict[str, int]
    left: dict[str, int]  # alarms, places, parked and waiters that are still there
    index: int  # ids in the plugin's index

    @classmethod
    def collect(cls, harness: Harness) -> Evidence:
        client = harness.client
        refs = [ref.decode() for ref in client.zrange(keyspace.plugin_index(PLUGIN), 0, -1)]
        pending = {name.decode(): int(value) for name, value in client.hgetall(keyspace.pending()).items()}
        pending["of the plugin"] = int(client.get(keyspace.plugin_pending(PLUGIN)) or 0)
        answer = requests.get(f"{harness.receiver_url}/_receipts", timeout=120).json()
        receipts = {ref: [(at_ms, what) for at_ms, what in rows] for ref, rows in answer.items()}
        return cls(_records(client, refs), receipts, pending, _left(client, refs), len(refs))


def _records(client: redis.Redis, refs: list[str]) -> dict[str, Invocation]:
    found = {}
    for start in range(0, len(refs), PAGE):
        page = refs[start : start + PAGE]
        pipeline = client.pipeline(transaction=False)
        for ref in page:
            pipeline.hgetall(keyspace.record(ref))
        for ref, fields in zip(page, pipeline.execute(), strict=True):
            if fields:
                found[ref] = invocation_from(ref, fields)
    return found


def _left(client: redis.Redis, refs: list[str]) -> dict[str, int]:
    keys = {"alarms": [keyspace.due_running()]}
    keys["alarms"] += [key.decode() for key in client.keys("relay:{0}:due:queued:*")]
    keys["places"] = [keyspace.running(PLUGIN, hook) for hook in BY_ID]
    keys["parked"] = [keyspace.parked(PLUGIN, hook) for hook in BY_ID]
    left = {what: sum(client.zcard(key) for key in names) for what, names in keys.items()}
    left["waiters"] = 0
    for start in range(0, len(refs), PAGE):
        pipeline = client.pipeline(transaction=False)
        for ref in refs[start : start + PAGE]:
            pipeline.hget(keyspace.record(ref), "waiters")
        left["waiters"] += sum(bool(waiters) for waiters in pipeline.execute())
    return left


@dataclass
class Watch:
    """Looks at final records again and again while the run goes on: they never change."""

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
        """With what is there at the end."""
        for ref, before in self.seen.items():
            record = records.get(ref)
            after = None if record is None else (record.state, record.outcome, record.status, record.finished_at_ms)
            if after != before:
                self.changed.setdefault(ref, (before, after))

    def _run(self) -> None:
        while not self._ending.wait(WATCH_S):
            told = self.callers.told
            chosen = {self._random.choice(told).reference_id for _ in range(WATCHED)} if told else ()
            with suppress(redis.RedisError):
                for ref, record in _records(self.harness.client, list(chosen)).items():
                    self._look(ref, record)

    def _look(self, ref: str, record: Invocation) -> None:
        now = (record.state, record.outcome, record.status, record.finished_at_ms)
        before = self.seen.setdefault(ref, now) if record.state.final else self.seen.get(ref, now)
        if before != now:
            self.changed.setdefault(ref, (before, now))
