"""A worker's heartbeat is true: a death is noticed within 5 s, and a stuck part ends its process."""

from __future__ import annotations

import signal
import time

import pytest

from relay.domain.invocation import State
from relay.store.health.workers import workers_by_lane
from tests.integration.worker_harness import hook, worker_harness
from tests.processes import signal_group
from tests.receivers import json_answer, receiver
from tests.timing import wait_until
from workers.heartbeat import STUCK

OK = json_answer({"ok": True})
QUICK = "workers.heartbeat.LOOK_S = 0.05"  # sixty looks are three seconds


@pytest.fixture
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness:
        yield harness


def lanes_of(harness):
    return workers_by_lane(harness.runtime.workers.alive())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_lane_whose_worker_is_gone_is_without_one_within_five_seconds(harness, how):
    process = harness.start_worker("bulk")
    assert lanes_of(harness) == {"interactive": 0, "bulk": 1, "replay": 1}
    signal_group(process, how)
    gone = time.monotonic()
    wait_until(lambda: not any(lanes_of(harness).values()), 10)
    assert time.monotonic() - gone < 5


SABOTAGES = {
    "settler": "relay.executor.settling.Settler._iterate = lambda self: gevent.sleep(1e6)",
    "settler that ended": "relay.executor.settling.Settler._iterate = lambda self: gevent.getcurrent().throw()",
    "advancer": "relay.executor.advancing.Advancer._iterate = lambda self: gevent.sleep(1e6)",
    "sweeper": "relay.upkeep.sweeper.Sweeper.sweep = lambda self: gevent.sleep(1e6)",
    "consumer": "from celery.worker import loops; import celery.worker.consumer.consumer as c;"
    " c.loops.synloop = lambda *a, **k: gevent.sleep(1e6)",
    "whole process": "beat = workers.heartbeat.Heart.beat; workers.heartbeat.Heart.beat ="
    " lambda heart: workers.heartbeat._sleep(1e6) if heart.looks > 3 else beat(heart)",
}


@pytest.mark.parametrize("part", SABOTAGES)
def test_a_worker_in_which_a_part_stands_still_ends_so_that_it_is_started_again(harness, part):
    process = harness.start_worker(sabotage=f"{QUICK}\n{SABOTAGES[part]}", waits=False)
    assert process.wait(90) == STUCK
    wait_until(lambda: not any(lanes_of(harness).values()), 10)


def test_a_worker_whose_slots_are_all_taken_by_slow_calls_is_alive(tmp_path_factory):
    def slow(connection, request):
        time.sleep(4)
        OK(connection, request)

    with worker_harness(tmp_path_factory, RELAY_MAX_IN_FLIGHT="2") as harness, receiver(slow) as endpoint:
        process = harness.start_worker(sabotage=QUICK)
        harness.register(*(hook(endpoint.url, timeout=20) | {"id": f"hook{number}"} for number in range(4)))
        refs = [harness.trigger(f"hook{number}") for number in range(4)]
        wait_until(lambda: len(endpoint.requests) == 2, 20)
        for _ in range(35):
            assert lanes_of(harness)["bulk"] == 1
            time.sleep(0.1)
        assert {record.state for record in harness.finals(refs)} == {State.DELIVERED}
        assert process.poll() is None
