"""Calls that nobody waits for are taken several at a time, even if they come one by one."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest

from relay.executor import pipeline
from relay.executor.pipeline import PACE_S
from tests.executor.one_worker import OneWorker
from tests.receivers import json_answer, receiver

BEGAN_S = 100.0


class Pace:
    """A worker whose clock stands still, and what comes while it waits before a take."""

    def __init__(self, worker, monkeypatch):
        self.worker = worker
        self.now_s = BEGAN_S
        self.slept_s = []
        self.coming = 0
        monkeypatch.setattr(pipeline, "boot_time_s", lambda: self.now_s)
        monkeypatch.setattr(pipeline, "gevent", SimpleNamespace(sleep=self._sleep, spawn=gevent.spawn))

    def _sleep(self, seconds):
        self.slept_s.append(seconds)
        if seconds:
            coming, self.coming = self.coming, 0
            self.come(coming)

    def come(self, count):
        self.worker.trigger("hook", *({"n": number} for number in range(count)))

    def taken(self, lane="bulk"):
        """Bring a message of a lane; return how many calls it started, and how long it waited first."""
        self.slept_s.clear()
        return self.worker.executor.run_waiting((lane,), 0)["started"], sum(self.slept_s)


@pytest.fixture
def pace(valkey, monkeypatch):
    worker = OneWorker(valkey, monkeypatch)
    with receiver(json_answer({"ok": True})) as endpoint:
        worker.register({"id": "hook", "url": endpoint.url, "method": "POST"})
        yield Pace(worker, monkeypatch)
        worker.run()
    worker.close()


def test_calls_come_together_after_a_take_and_a_call_that_comes_later_waits_for_nobody(pace):
    pace.come(1)
    assert pace.taken() == (1, 0)
    pace.come(1)
    pace.coming = 2
    assert pace.taken() == (3, pytest.approx(PACE_S))
    pace.now_s += PACE_S + 0.001
    pace.come(1)
    assert pace.taken() == (1, 0)


def test_takes_that_found_nothing_delay_none(pace):
    pace.come(1)
    assert pace.taken() == (1, 0)
    pace.now_s += PACE_S + 0.001
    assert [pace.taken() for _ in range(3)] == [(0, 0)] * 3


def test_calls_whose_callers_wait_are_taken_at_once(pace):
    pace.come(1)
    assert pace.taken() == (1, 0)
    assert pace.taken("interactive") == (0, 0)
