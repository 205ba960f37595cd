"""Real workers use the present value of a secret to which many webhooks refer."""

from __future__ import annotations

import time

import pytest

from relay.domain.invocation import Outcome, State
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import echo, receiver

FIRST, SECOND = "planted-first-value", "planted-second-value"
TAKES_EFFECT_S = 2.0


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness:
        harness.start_worker()
        harness.start_worker(number=2)
        yield harness


def test_a_value_that_is_set_anew_is_used_by_every_webhook_within_two_seconds_and_hidden_in_answers(harness):
    secrets = harness.runtime.registry.secrets
    secrets.set("acme", "KEY", FIRST)
    with receiver(echo) as endpoint:
        bearing = hook(endpoint.url, headers={"Authorization": "Bearer ${secret:KEY}"})
        keyed = hook(f"{endpoint.url}?key=${{secret:KEY}}", id="keyed", headers={"X-Also": "${secret:KEY}"})
        harness.register(bearing, keyed)
        refs = [harness.trigger(webhook) for webhook in ("hook", "keyed") for _ in range(5)]
        harness.finals(refs)
        secrets.set("acme", "KEY", SECOND)
        time.sleep(TAKES_EFFECT_S)
        seen = len(endpoint.requests)
        later = [harness.trigger(webhook) for webhook in ("hook", "keyed") for _ in range(5)]
        records = harness.finals(later)
    assert {record.revision for record in records} == {1}
    assert {request.header("authorization") for request in endpoint.requests[seen:]} == {f"Bearer {SECOND}", None}
    assert {request.header("x-also") for request in endpoint.requests[seen:]} == {SECOND, None}
    assert len([request for request in endpoint.requests[seen:] if f"key={SECOND}" in request.target]) == 5
    for ref in refs + later:
        assert "planted" not in str(harness.data(ref))
        assert "[redacted]" in str(harness.data(ref))


def test_a_call_of_a_revision_whose_secret_is_gone_is_not_sent(harness):
    secrets = harness.runtime.registry.secrets
    secrets.set("acme", "GONE", FIRST)
    with receiver(echo) as endpoint:
        referring = hook(endpoint.url, id="gone", headers={"X-Key": "${secret:GONE}"})
        harness.register(referring)
        harness.runtime.policies.pause("acme", "gone")
        ref = harness.trigger("gone")
        harness.register(referring | {"headers": {}})
        secrets.remove("acme", "GONE")
        for ready in harness.runtime.policies.resume("acme", "gone"):
            harness.runtime.publisher.publish_ready(ready)
        record = harness.final(ref)
    assert (record.state, record.outcome) == (State.UNREACHABLE, Outcome.PREPARE_FAILED)
    assert endpoint.requests == []
