"""A store that is slow costs time, never a call: what was not tried counts nowhere as an attempt of its endpoint."""

from __future__ import annotations

import pytest

from relay.domain.invocation import State
from relay.store.ledger.invocations import InvocationStore
from tests.executor.one_worker import PLUGIN
from tests.store_keys import KEYS

TIMEOUT_S = 1
#: Up to twice the timeout of the calls.
DELAYS_S = (0.6, 2.0)
CALLS = 3
MOST_POINTS = 40


@pytest.fixture(scope="module")
def worker(worker, endpoint):
    worker.register({"id": "brief", "url": endpoint.url, "method": "POST", "timeout": TIMEOUT_S})
    return worker


def run(worker, endpoint, slow, delay_s):
    """Make calls while replies of the store are late; return how many points the run passed."""
    worker.begin()
    refs = worker.trigger("brief", *({"n": number} for number in range(CALLS)))
    worker.faults.delay(slow, delay_s)
    worker.run_to_the_end(refs)
    passed = list(worker.faults.passed)
    where = f"{delay_s} s late at {slow}: {passed}"
    for ref in refs:
        record = worker.record(ref)
        assert (record.state, len(record.attempts)) == (State.DELIVERED, 1), where
        assert [each.header("webhook-id") for each in endpoint.requests].count(ref) == 1, where
    assert worker.leftovers() == {}, where
    assert not worker.client.hexists(KEYS.policy(PLUGIN, "brief"), "failures"), where
    return len(passed)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("margin_s", [None, 0.2], ids=["usual margin", "short margin"])
@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_a_late_reply_at_any_point_of_a_run_costs_no_call(worker, endpoint, monkeypatch, delay_s, margin_s):
    """With a short margin, a claim that is answered late leaves no time: its calls are given back."""
    if margin_s is not None:
        monkeypatch.setattr(InvocationStore, "lease_margin_s", margin_s)
    points = run(worker, endpoint, (), 0.0)
    assert points < MOST_POINTS
    for number in range(points):
        run(worker, endpoint, [number], delay_s)


def test_a_store_that_is_late_with_every_reply_costs_no_call(worker, endpoint):
    run(worker, endpoint, range(MOST_POINTS), 0.6)


def test_a_call_whose_claim_is_answered_too_late_is_given_back_and_tried_later(worker, endpoint, monkeypatch):
    monkeypatch.setattr(InvocationStore, "lease_margin_s", 0.0)
    run(worker, endpoint, (), 0.0)
    claim = [name for _, name in worker.faults.passed].index(
        next(name for _, name in worker.faults.passed if "claim" in name)
    )
    worker.begin()
    (ref,) = worker.trigger("brief", {"n": 1})
    store, given_back = worker.executor._store, []
    release = store.release
    monkeypatch.setattr(store, "release", lambda refs, token: given_back.append(refs) or release(refs, token))
    worker.faults.delay([claim], 1.5)
    worker.run_to_the_end([ref])
    assert given_back == [[ref]]
    assert [each.outcome for each in worker.record(ref).attempts] == ["answered"]
