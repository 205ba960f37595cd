"""Registrations change while a chain runs: what it has begun goes on with the revisions that it was accepted with."""

from __future__ import annotations

import itertools
import json

import pytest

from relay.domain.invocation import Outcome, State
from tests.executor.one_worker import PLUGIN

#: What may happen to the chain, and to the webhook of its step, while the chain waits.
ACTS = ("nothing", "changed", "removed", "paused and resumed")
#: When: before the chain has begun, or while its second step waits.
MOMENTS = ("queued", "begun")


def hooks(endpoint, **changes):
    return [
        {"id": "first", "url": endpoint.url, "method": "POST"},
        {"id": "second", "url": endpoint.url, "method": "POST", **changes},
        {"id": "chain", "steps": [{"webhook": "first"}, {"webhook": "second"}], **changes},
    ]


def act(worker, endpoint, what, webhook):
    registry, traffic = worker.operators.registry, worker.operators.traffic
    if what == "changed":
        worker.register(*(each for each in hooks(endpoint, description="changed") if each["id"] == webhook))
    elif what == "removed":
        assert registry.remove(PLUGIN, webhook)
        for ready in worker.operators.store.revisit(PLUGIN, webhook):
            worker.lanes.publish_ready(ready)
    elif what == "paused and resumed":
        traffic.pause(PLUGIN, webhook)
        worker.run()
        traffic.resume(PLUGIN, webhook)


@pytest.mark.parametrize(("of_step", "of_chain"), list(itertools.product(ACTS, ACTS)))
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_chain_that_has_begun_goes_on_whatever_becomes_of_its_registrations(
    worker, endpoint, moment, of_step, of_chain
):
    if of_step == "removed" and of_chain != "removed":
        pytest.skip("a webhook that a chain uses cannot be removed")
    worker.begin()
    worker.register(*hooks(endpoint))
    held = "second" if moment == "begun" else "chain"
    worker.operators.policies.pause(PLUGIN, held)
    (ref,) = worker.trigger("chain", {"n": 1})
    worker.run()
    assert len(worker.record(ref).steps) == (2 if moment == "begun" else 0)
    act(worker, endpoint, of_chain, "chain")
    act(worker, endpoint, of_step, "second")
    for ready in worker.operators.policies.resume(PLUGIN, held):
        worker.lanes.publish_ready(ready)
    worker.run_to_the_end([ref])
    record = worker.record(ref)
    if moment == "queued" and of_chain == "removed":
        assert (record.state, record.outcome) == (State.REJECTED, Outcome.WEBHOOK_NOT_REGISTERED)
        return
    assert (record.state, record.status) == (State.DELIVERED, 200), record
    steps = [worker.record(each) for each in record.steps]
    assert [each.state for each in steps] == [State.DELIVERED] * 2
    assert {each.webhook_id: each.revision for each in steps} == {
        name: number for name, number in json.loads(record.pins).items() if name != "chain"
    }
