"""Heartbeats of workers: which workers live, for which lanes, and how long a heartbeat counts."""

import pytest

from relay.store.health.workers import FORGET_MS, SILENCE_MS, Workers, live_workers, workers_by_lane
from relay.store.keys import keyspace
from tests.contract.clocked import START_MS


@pytest.fixture
def workers(redis_client):
    return Workers(redis_client)


def test_a_worker_lives_for_the_lanes_that_it_named_last(workers):
    workers.beat("w1", ["interactive", "bulk"])
    workers.beat("w1", ["replay", "bulk"])
    (worker,) = workers.alive()
    assert (worker.name, worker.lanes) == ("w1", {"bulk", "replay"})
    assert workers_by_lane([worker]) == {"interactive": 0, "bulk": 1, "replay": 1}


@pytest.mark.parametrize(
    ("silent_ms", "lives"),
    [(SILENCE_MS, True), (SILENCE_MS + 1, False), (-SILENCE_MS, True), (-SILENCE_MS - 1, False)],
)
def test_a_worker_is_believed_in_for_four_seconds_also_if_the_clock_went_back(silent_ms, lives):
    """The time is given, as a busy machine may take half a second for anything."""
    assert bool([*live_workers([(b"w1", 10_000)], {}, 10_000 + silent_ms)]) is lives


def test_a_worker_whose_last_beat_is_older_counts_as_gone(workers, redis_client):
    workers.beat("w1", ["bulk"])
    redis_client.zincrby(keyspace.shared("workers"), -SILENCE_MS - 500, "w1")
    assert workers.alive() == []


def test_a_beat_tells_how_many_live(workers, redis_client):
    assert workers.number_alive == 1
    for name in ("w1", "w2", "gone"):
        workers.beat(name, ["bulk"])
    redis_client.zincrby(keyspace.shared("workers"), -SILENCE_MS - 500, "gone")
    workers.beat("w1", ["bulk"])
    assert workers.number_alive == 2


def test_a_worker_that_was_silent_for_an_hour_is_forgotten_with_its_lanes(workers, redis_client):
    for name in ("gone", "silent"):
        workers.beat(name, ["bulk"])
    redis_client.zincrby(keyspace.shared("workers"), -FORGET_MS - 500, "gone")
    redis_client.zincrby(keyspace.shared("workers"), -FORGET_MS + 5_000, "silent")
    workers.beat("w1", ["bulk"])
    assert redis_client.zrange(keyspace.shared("workers"), 0, -1) == [b"silent", b"w1"]
    assert set(redis_client.hkeys(keyspace.shared("worker_lanes"))) == {b"silent", b"w1"}


@pytest.mark.parametrize(
    ("silent_ms", "alive", "known"),
    [
        (0, 2, True),
        (SILENCE_MS, 2, True),
        (SILENCE_MS + 1, 1, True),
        (FORGET_MS - 1, 1, True),
        (FORGET_MS, 1, False),
        (-SILENCE_MS, 2, True),
        (-SILENCE_MS - 1, 1, False),
    ],
)
def test_a_beat_counts_who_was_heard_of_in_time_and_forgets_who_was_not(
    clock, workers, redis_client, silent_ms, alive, known
):
    workers.beat("other", ["bulk"])
    clock.set_ms(START_MS + silent_ms)
    workers.beat("w1", ["replay"])
    assert workers.number_alive == alive
    lanes = {b"w1": b"replay"} | ({b"other": b"bulk"} if known else {})
    assert redis_client.hgetall(keyspace.shared("worker_lanes")) == lanes
    assert set(redis_client.zrange(keyspace.shared("workers"), 0, -1)) == lanes.keys()
