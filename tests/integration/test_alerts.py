"""Alerts with real workers: the operators' webhook is called once when something is wrong, and once when it is over."""

from __future__ import annotations

import json

import pytest

from relay.store.ledger.listing import Filter
from tests.integration.worker_harness import hook, worker_harness
from tests.processes import signal_group
from tests.receivers import answer, closed_port, json_answer, receiver
from tests.timing import BUSY_S, wait_until

OK = json_answer({"ok": True})
SETTINGS = {"RELAY_ALERTS": "ops/on-alert", "RELAY_ALERT_BACKLOG": "3s", "RELAY_ALERT_FAILURES": "60"}


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory, **SETTINGS) as harness:
        harness.start_worker("interactive")
        harness.start_worker("bulk")
        harness.start_worker("bulk", 2)
        yield harness


@pytest.fixture
def ops(harness):
    with receiver(OK) as endpoint:
        harness.register({"id": "on-alert", "url": endpoint.url, "method": "POST", "hidden": True}, plugin="ops")
        yield endpoint


def alerts(ops, **wanted):
    bodies = [json.loads(request.body) for request in ops.requests]
    return [each for each in bodies if wanted.items() <= each.items()]


def recorded(harness):
    """Return the reference ids of all alerts, including those that a busy machine causes."""
    return {each.reference_id for each in harness.runtime.listing.every("ops", Filter(caller="alert"))}


def told(ops, count=1, **wanted):
    wait_until(lambda: len(alerts(ops, **wanted)) >= count, 3 * BUSY_S, every_s=0.2)
    return alerts(ops, **wanted)


def test_an_endpoint_that_is_gone_is_told_of_once_for_its_breaker_and_its_failures_and_once_when_it_is_over(
    harness, ops
):
    harness.register(hook(f"http://127.0.0.1:{closed_port()}/"))
    harness.finals(harness.trigger_many(20))
    (opened,) = told(ops, alert="breaker_open", state="firing")
    (failing,) = told(ops, alert="failures", state="firing")
    assert (opened["plugin"], opened["webhookId"]) == ("acme", "hook")
    assert (failing["value"], failing["bound"]) == (100, 60)
    assert failing["message"] == "100% of the calls of acme/hook failed in the last five minutes."
    with receiver(OK) as endpoint:
        harness.register(hook(endpoint.url))
        for ready in harness.runtime.policies.close_breaker("acme", "hook"):
            harness.runtime.publisher.publish_ready(ready)
        harness.finals(harness.trigger_many(40))
        (closed,) = told(ops, alert="breaker_open", state="over")
        (over,) = told(ops, alert="failures", state="over")
    assert closed["since"] == opened["since"]
    assert over["message"].startswith("Over: ")
    assert [len(alerts(ops, alert=kind)) for kind in ("breaker_open", "failures")] == [2, 2]
    assert set(ops.receipts.values()) == {1}
    assert set(ops.receipts) <= recorded(harness)


def test_a_lane_without_a_worker_and_its_old_calls_are_told_of_by_another_lanes_worker(harness, ops):
    dead = [process for process in harness.workers[1:] if process.poll() is None]
    for process in dead:
        signal_group(process)
        process.wait(BUSY_S)
    with receiver(answer(200)) as endpoint:
        harness.register(hook(endpoint.url))
        ref = harness.trigger()
        (old,) = told(ops, alert="backlog_old", state="firing")
        assert (old["lane"], old["bound"]) == ("bulk", 3)
        unserved = told(ops, 2, alert="lane_unserved", state="firing")
        assert {each["lane"] for each in unserved} == {"bulk", "replay"}
        harness.start_worker("bulk", 3)
        told(ops, 2, alert="lane_unserved", state="over")
        told(ops, alert="backlog_old", state="over")
        harness.final(ref)
    assert len(alerts(ops, alert="lane_unserved")) == 4
    assert len(alerts(ops, alert="backlog_old")) == 2


def test_an_alert_that_cannot_be_told_of_now_is_told_of_later(harness, ops):
    harness.runtime.policies.pause("ops", "on-alert")
    harness.register(hook(f"http://127.0.0.1:{closed_port()}/"))
    harness.finals(harness.trigger_many(20))
    wait_until(
        lambda: list(harness.runtime.listing.every("ops", Filter(webhook_id="on-alert", states=frozenset({"queued"})))),
        60,
    )
    assert alerts(ops) == []
    for ready in harness.runtime.policies.resume("ops", "on-alert"):
        harness.runtime.publisher.publish_ready(ready)
    told(ops, alert="breaker_open", state="firing")
