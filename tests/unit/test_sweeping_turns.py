"""Which workers sweep: all of them if they are few; about sixteen sweeps a second in all if they are many."""

from __future__ import annotations

import random

import pytest

from relay.upkeep.sweeper import ALARMS, RECORDS, SWEEPS, Sweeper

PERIODS = 5_000


class Store:
    """Counts sweeps; they find no work except what a test puts in."""

    def __init__(self):
        self.sweeps = 0
        self.ready = []
        self.old = 0

    def sweep(self, *_args, **_options):
        self.sweeps += 1
        return tuple(self.ready.pop()) if self.ready else ()

    def drop_contents(self, **_options):
        return 0

    def revisits(self, **_options):
        return []

    def expire(self, **_options):
        return 0, False, ()

    def prune(self, *, limit):
        piece, self.old = min(limit, self.old), max(0, self.old - limit)
        return piece


class Broker:
    def __init__(self, depths):
        self.found = depths

    def depths(self):
        return self.found

    def publish_ready(self, _ready):
        return ()


def sweeper_of(store, workers_alive, *, depths=None, chance=None):
    broker = Broker({"bulk": 0} if depths is None else depths)
    return Sweeper(
        store,
        broker,
        lambda ready: ready,
        tell=int,
        workers_alive=lambda: workers_alive,
        chance=chance or random.Random(7).random,
    )


@pytest.mark.parametrize("workers_alive", [1, 2, SWEEPS])
def test_few_workers_sweep_each_time(workers_alive):
    store = Store()
    sweeper = sweeper_of(store, workers_alive)
    for _ in range(PERIODS):
        sweeper.sweep()
    assert store.sweeps == sweeper.moves == PERIODS


@pytest.mark.parametrize("workers_alive", [100, 1_000])
def test_many_workers_sweep_sixteen_times_a_period_in_all_and_each_goes_on_moving(workers_alive):
    store = Store()
    sweeper = sweeper_of(store, workers_alive)
    for _ in range(PERIODS):
        sweeper.sweep()
    assert 0.7 < store.sweeps * workers_alive / PERIODS / SWEEPS < 1.3
    assert sweeper.moves == PERIODS


@pytest.mark.parametrize("left", ["alarms", "records"])
def test_who_has_left_something_undone_sweeps_again_and_then_leaves_it_to_others(left):
    store = Store()
    chances = iter([0.0, 0.9, 0.9])
    sweeper = sweeper_of(store, 1_000, chance=lambda: next(chances))
    if left == "alarms":
        store.ready = [[("ref", "bulk")] * ALARMS]
    else:
        store.old = RECORDS
    for _ in range(3):
        sweeper.sweep()
    assert store.sweeps == 2


def test_everybody_sweeps_while_the_broker_is_away():
    store = Store()
    sweeper = sweeper_of(store, 1_000, depths={})
    for _ in range(10):
        sweeper.sweep()
    assert (store.sweeps, sweeper.broker_away) == (10, True)


def test_whether_the_broker_is_away_is_asked_each_time_whoever_sweeps():
    sweeper = sweeper_of(Store(), 1_000, chance=lambda: 0.9)
    sweeper.sweep()
    assert not sweeper.broker_away
    sweeper._publisher.found = {}
    sweeper.sweep()
    assert sweeper.broker_away
