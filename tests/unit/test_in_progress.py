"""The calls that a process has in progress."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace

import pytest

from relay.domain.reference_id import new_reference_id
from relay.executor.scheduler import Scheduler
from relay.queue import LANES
from relay.store.keys.keyspace import SINGLE


def make_scheduler():
    return Scheduler(SimpleNamespace(keys=SINGLE), None, None, ())


def runs_of(scheduler):
    return [scheduler.runs.get().reference_ids for _ in range(scheduler.runs.qsize())]


def test_a_message_is_trusted_with_nothing_but_ids():
    ref = new_reference_id()
    assert make_scheduler().take([ref, ref, "no id", 7, None]) == [ref]


def test_what_is_held_is_not_taken_again_until_it_is_let_go():
    scheduler, ref = make_scheduler(), new_reference_id()
    scheduler.take([ref])
    assert scheduler.take([ref]) == []
    scheduler.release([ref])
    assert scheduler.take([ref]) == [ref]


def test_what_was_asked_for_while_it_was_held_runs_again_once_when_it_is_let_go():
    scheduler, ref, other = make_scheduler(), new_reference_id(), new_reference_id()
    scheduler.take([ref, other])
    scheduler.take([ref])
    scheduler.release([other])
    assert runs_of(scheduler) == []
    scheduler.release([ref])
    assert runs_of(scheduler) == [[ref]]
    scheduler.release([ref])
    assert runs_of(scheduler) == []


@pytest.mark.parametrize("lanes", [*permutations(LANES), *permutations(LANES, 2), set(LANES)])
def test_a_process_takes_from_its_most_urgent_lane_first(lanes):
    assert Scheduler(None, None, None, lanes).lanes == tuple(lane for lane in LANES if lane in lanes)
