"""Calls that are claimed and then cannot be started: they are given back at once, and nothing of them is held."""

from __future__ import annotations

import gevent
import pytest

from relay.domain.invocation import State
from relay.domain.reference_id import new_reference_id
from relay.executor import greenlet_pool
from relay.store.ledger.transitions import CallRecord, Claimed
from relay.telemetry import log

FAILURES = {"no memory": MemoryError(), "no greenlet": RuntimeError("cannot start")}


@pytest.fixture(scope="module")
def worker(worker, endpoint):
    worker.register(
        {"id": "once", "url": endpoint.url, "method": "POST"},
        {"id": "gone", "url": "http://127.0.0.1:9/", "method": "POST"},
    )
    return worker


def failing(work, first, last, error):
    """Return ``work``, which raises ``error`` from its call number ``first`` to ``last``."""
    numbers = iter(range(1_000))

    def fail(*args, **more):
        if first <= next(numbers) <= last:
            raise error
        return work(*args, **more)

    return fail


def run_while_no_time_passes(worker, endpoint):
    """Run three calls, whose leases do not end meanwhile; check that each was received once and nothing is held."""
    received = len(endpoint.requests)
    refs = worker.trigger("once", {"n": 1}, {"n": 2}, {"n": 3})
    worker.run()
    assert [worker.record(ref).state for ref in refs] == [State.DELIVERED] * 3
    assert len(endpoint.requests) == received + 3
    assert worker.leftovers() == {}


@pytest.mark.parametrize("error", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize(("first", "last"), [(0, 0), (1, 1), (2, 2), (0, 2), (0, 7)])
def test_calls_that_cannot_be_started_are_given_back_at_once_and_sent_once(
    worker, endpoint, monkeypatch, events_of, first, last, error
):
    worker.begin()
    said, pool = events_of(log), worker.executor._in_flight._pool
    monkeypatch.setattr(pool, "start", failing(pool.start, first, last, error))
    run_while_no_time_passes(worker, endpoint)
    faults = [fields for _, fields in said if fields.get("where") == "launch"]
    assert [fields["kind"] for fields in faults] == [type(error).__name__] * (last - first + 1)


def test_calls_that_cannot_even_be_counted_as_active_are_given_back_too(worker, endpoint, monkeypatch):
    worker.begin()
    watch = worker.executor._watch
    monkeypatch.setattr(watch, "claimed", failing(watch.claimed, 0, 1, MemoryError()))
    run_while_no_time_passes(worker, endpoint)


def test_while_no_greenlet_can_be_made_calls_are_given_back_without_one(worker, endpoint, monkeypatch):
    worker.begin()
    monkeypatch.setattr(greenlet_pool.gevent, "spawn_raw", failing(gevent.spawn_raw, 0, 0, MemoryError()))
    claimer, spawn = worker.executor._claimer, gevent.spawn

    def spawn_others(work, *args):
        if work == claimer._give_back_surely:
            raise MemoryError
        return spawn(work, *args)

    monkeypatch.setattr(gevent, "spawn", spawn_others)
    run_while_no_time_passes(worker, endpoint)
    assert not claimer.busy


def test_if_what_a_claim_has_ended_cannot_be_told_what_it_has_parked_is_released_all_the_same(worker, monkeypatch):
    worker.begin()
    executor, (parked, ended) = worker.executor, (new_reference_id(), new_reference_id())
    monkeypatch.setattr(executor._watch, "ended", failing(executor._watch.ended, 0, 0, MemoryError()))
    claimed = Claimed(1, frozenset(), frozenset({parked}), (), ended={ended: (State.CANCELLED, "cancelled")})
    record = CallRecord(ended, State.QUEUED, "acme", "once", 1, 1, b"", None, 1_000, "bulk")
    assert executor.scheduler.take([parked]) == [parked]
    with pytest.raises(MemoryError):
        executor._follow(claimed, [record])
    assert worker.held_by_executor() == {}
