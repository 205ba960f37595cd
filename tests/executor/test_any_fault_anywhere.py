"""Whatever the store, the broker or the log raises, at any point of a run: nothing is lost, doubled, or held for good.

One worker, wired by `relay.wiring.worker_runtime`, uses a real server and a real endpoint. Every possible error is raised at
every command, every message and every log line of a run, both before and after the server has executed it.
"""

from __future__ import annotations

import gevent
import pytest

from tests.executor.faulty_parts import AFTER, BEFORE, LOG, STORE
from tests.executor.server_faults import every_fault
from tests.executor.site import SCENARIOS, Calls, site, webhooks

FAULTS = every_fault()
NAMES = list(FAULTS)
#: One error of each kind is raised at every point; the others only at some points, so that each point meets several.
EVERYWHERE = ("answer NOREPLICAS 0", "ours 0")
SAMPLED = 29
NOT_NOW = [error for name, error in FAULTS.items() if name.startswith("answer ")]
ANYTHING = list(FAULTS.values())
MOST_POINTS = 200
STOP_S = 10.0


@pytest.fixture(scope="module")
def endpoint():
    with site() as served:
        yield served


@pytest.fixture(scope="module")
def worker(worker, endpoint):
    worker.register(*webhooks(endpoint.origin))
    return worker


def run(worker, endpoint, scenario, first, errors, moment=BEFORE, points=1, *, surely=True):
    """Make one run with failures; return the points that it passed, and how many of them failed."""
    worker.begin()
    calls = SCENARIOS[scenario]()
    refs = calls.bring(worker)
    worker.faults.arm(first, errors, moment, points=points)
    worker.run_to_the_end(refs)
    worker.faults.disarm()
    passed = list(worker.faults.passed)
    where = f"{moment} point {first} of {scenario}: {passed[first : first + points]}"
    assert worker.leftovers() == {}, where
    calls.check(worker, endpoint.receipts, surely=surely)
    fresh = Calls("plain", {"fresh": 1})
    fresh.bring(worker)
    worker.run()  # while no time passes
    fresh.check(worker, endpoint.receipts, surely=True)
    assert worker.leftovers() == {}, where
    return passed, worker.faults.struck


def points(every, first):
    """Return the moments and points of a run to fail at: one in ``every`` points."""
    return [(moment, point) for point in range(MOST_POINTS) for moment in (BEFORE, AFTER)][first::every]


def try_points(worker, endpoint, scenario, fault, where):
    """Make a run for each of these points, until runs are too short to reach one; return the steps that failed."""
    failed = set()
    for moment, point in where:
        passed, struck = run(worker, endpoint, scenario, point, [FAULTS[fault]], moment)
        if not struck:
            break
        failed.add(passed[point])
    return failed


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("fault", EVERYWHERE)
def test_a_failure_at_each_point_loses_doubles_or_holds_nothing(worker, endpoint, scenario, fault):
    failed = try_points(worker, endpoint, scenario, fault, points(1, 0))
    assert {kind for kind, _ in failed} >= {STORE, LOG}
    assert {name for _, name in failed} >= {"relay_claim", "relay_settle"}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_failure_at_some_points_loses_doubles_or_holds_nothing(worker, endpoint, fault):
    failed = set()
    for number, scenario in enumerate(SCENARIOS):
        where = points(SAMPLED, (number + NAMES.index(fault)) % SAMPLED)
        failed |= try_points(worker, endpoint, scenario, fault, where)
    assert len(failed) > 3


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("length", [3, 10, 50])
def test_a_store_that_is_away_for_a_while_costs_nothing(worker, endpoint, scenario, length):
    for first in range(0, 40, length):
        _, struck = run(worker, endpoint, scenario, first, NOT_NOW, points=length)
        if not struck:
            break


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("moment", [BEFORE, AFTER])
def test_whatever_fails_for_a_while_everything_ends_and_nothing_is_held(worker, endpoint, scenario, moment):
    for first in range(0, 40, 7):
        errors = [*ANYTHING[first:], *ANYTHING[:first]]
        _, struck = run(worker, endpoint, scenario, first, errors, moment, points=60, surely=False)
        if not struck:
            break


@pytest.mark.parametrize("fault", EVERYWHERE)
@pytest.mark.parametrize("rounds", range(4))
def test_a_stop_during_which_anything_fails_holds_nothing_and_leaves_the_rest_to_the_next(
    worker, endpoint, fault, rounds
):
    """``rounds``: how far the calls come before the stop."""
    for moment, point in points(1, 0):
        worker.begin()
        calls = Calls("plain", {"n": 1}, {"n": 2}, {"n": 3})
        refs = calls.bring(worker)
        worker.faults.arm(point, [FAULTS[fault]], moment)
        worker.bring_messages()
        for _ in range(rounds):
            gevent.sleep(0)
        worker.executor.drain(STOP_S)
        worker.faults.disarm()
        worker.wait()
        assert worker.held_by_executor() == {}, (moment, point, worker.faults.passed)
        if not worker.faults.struck:
            break
        worker.begin()
        worker.run_to_the_end(refs)
        assert worker.leftovers() == {}
        calls.check(worker, endpoint.receipts, surely=False)
