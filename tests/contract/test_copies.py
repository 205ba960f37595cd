"""Bounds how often one call waits while workers are away."""

from __future__ import annotations

from collections import Counter

import pytest

from relay.queue import GROUP_IDS
from relay.store.keys.keyspace import SINGLE
from relay.store.ledger.acceptance import NewInvocation
from relay.store.partitions.reachable import Partitions
from relay.upkeep.sweeper import Sweeper
from tests.contract.clocked import PLUGIN, START_MS, Clocked
from tests.contract.ledger import LIMITS
from tests.contract.store_and_model import reference_id

QUEUED = 50_000  # also passes with 200,000, which takes a minute
AWAY_S = 300
GROUPS_A_SECOND = 30  # how many groups of calls the workers take per second once they are back


class Lane:
    """The bulk lane, and how often a sweep has let each call wait again."""

    def __init__(self, waiting):
        self.waiting = waiting
        self.copies = Counter()

    def publish_ready(self, ready):
        self.copies.update(ref for ref, _ in ready)
        self.waiting.queue(ready, lambda lanes, _: [(lane, b"") for lane in lanes])


def accept_many(ledger):
    for start in range(0, QUEUED, 1_000):
        news = [
            NewInvocation(reference_id(n), PLUGIN, "hook", 1, "bulk", 20_000, payload=b"sealed", request_bytes=6)
            for n in range(start, start + 1_000)
        ]
        ledger.store.accept(news, [("bulk", b"")])


@pytest.mark.timeout(300)
def test_a_call_waits_once_though_workers_are_away_for_five_minutes(valkey, monkeypatch):
    from dataclasses import replace

    monkeypatch.setattr(
        "tests.contract.clocked.LIMITS",
        replace(LIMITS, max_pending=QUEUED, max_pending_per_plugin=QUEUED, max_pending_bytes=1 << 30),
    )
    with valkey.client() as client:
        ledger, now_ms = Clocked(client), START_MS
        lane = Lane(ledger.store.waiting)
        ledger.register("hook")
        sweeper = Sweeper(
            ledger.store, lane, Partitions(client, SINGLE), send_due=int, forget_due=int, workers_alive=lambda: 1
        )
        accept_many(ledger)
        for second in range(AWAY_S + QUEUED // GROUP_IDS):  # a worker of another lane keeps sweeping
            now_ms += 1_000
            ledger.set_ms(now_ms)
            sweeper.sweep()
            if second >= AWAY_S and not work(ledger, f"t{second}"):
                break
        assert int(client.hget("relay:{0}:pending", "count")) == 0
    assert not lane.copies


def work(ledger, token):
    """Let workers work for one second; calls are answered at once. Return whether there were any."""
    for number in range(GROUPS_A_SECOND):
        refs = ledger.store.waiting.take(0, ["bulk"], most=GROUP_IDS).reference_ids
        if not refs:
            return number > 0
        claimed = ledger.store.claim(refs, f"{token}-{number}")
        settle_all(ledger, [ref for ref in refs if ref in claimed.granted], f"{token}-{number}")
    return True


def settle_all(ledger, refs, token):
    from relay.domain.invocation import Attempt, Outcome, Sent, State
    from relay.store.ledger.transitions import Settlement

    attempt = Attempt(1, START_MS, 5, 200, Outcome.ANSWERED, Sent.ANSWERED)
    ends = [
        Settlement(ref, token, State.DELIVERED, Outcome.ANSWERED, 200, error=False, attempt=attempt) for ref in refs
    ]
    if ends:
        ledger.store.settle(ends)
