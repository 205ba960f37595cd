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
        return 0, False

    def ask(self, _ask):
        return []

    def expire(self, **_options):
        return 0, False, ()

    def prune(self, *, limit):
        piece, self.old = min(limit, self.old), max(0, self.old - limit)
        return piece


class Publisher:
    """Publishes nothing."""

    def publish_ready(self, _ready):
        pass


def sweeper_of(store, workers_alive, *, chance=None):
    return Sweeper(
        store,
        Publisher(),
        store,
        send_due=int,
        forget_due=int,
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
