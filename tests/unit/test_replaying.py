"""When a worker that runs a replay job waits for the job's rate, and when it gives the job up to be woken later."""

from __future__ import annotations

import pytest

from relay.domain.reference_id import new_reference_id
from relay.replay.running import LONG_WAIT_S, SOON_S, STEP_S, Replaying
from relay.store.replays.jobs import ReplayState
from relay.store.replays.runs import ClaimedJob, CreateReply, ReplayVerdict


class Runs:
    """A job of nothing, whose creations are answered with verdicts and waits (ms), in order."""

    def __init__(self, answers):
        self._answers = iter(answers)
        self.left_ms = []

    def claim(self, _replay_id, _token):
        return ClaimedJob(ReplayState.RUNNING, "acme", by_hand=False, rate_per_second=5.0)

    def read(self, _replay_id, _limit):
        return 0, []

    def create(self, _replay_id, _token, _place, _news):
        verdict, wait_ms = next(self._answers)
        return CreateReply(verdict, 0, wait_ms, ())

    def leave(self, _replay_id, _token, *, after_ms):
        self.left_ms.append(after_ms)
        return ()


def ran(monkeypatch, *answers):
    """Run the job until it is given up; return the waits on the way (s), and after how many ms it is to be woken."""
    runs, waits = Runs([*answers, (ReplayVerdict.DECIDED, 0)]), []
    replaying = Replaying(runs, None, None, None, lambda _ready: None)
    monkeypatch.setattr(replaying._stopping, "wait", waits.append)
    replaying.run(new_reference_id())
    assert not replaying.busy
    return waits, runs.left_ms


LONG_MS = int(LONG_WAIT_S * 1000)


@pytest.mark.parametrize("wait_ms", [0, 1, 20, 21, LONG_MS - 1, LONG_MS])
def test_a_short_wait_for_the_rate_is_waited_for(monkeypatch, wait_ms):
    waits = [max(STEP_S, wait_ms / 1000)] * 3
    assert ran(monkeypatch, *[(ReplayVerdict.PACED, wait_ms)] * 3) == (waits, [])


@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("wait_ms", [LONG_MS + 1, 60_000, 3_600_000])
def test_a_worker_that_had_to_wait_long_gives_the_job_up_until_then(monkeypatch, wait_ms, before):
    paced = [(ReplayVerdict.PACED, 100)] * before
    assert ran(monkeypatch, *paced, (ReplayVerdict.PACED, wait_ms)) == ([0.1] * before, [wait_ms])


@pytest.mark.parametrize("verdict", [ReplayVerdict.STALE, ReplayVerdict.AGAIN])
def test_a_try_that_a_change_made_void_is_soon_made_again(monkeypatch, verdict):
    assert ran(monkeypatch, (verdict, 60_000), (verdict, 0)) == ([SOON_S, SOON_S], [])


@pytest.mark.parametrize("verdict", [ReplayVerdict.LATE, ReplayVerdict.FULL, ReplayVerdict.DECIDED])
def test_a_job_that_goes_on_without_this_worker_is_not_given_up_by_it(monkeypatch, verdict):
    assert ran(monkeypatch, (ReplayVerdict.ON, 0), (verdict, 60_000)) == ([0.0], [])
