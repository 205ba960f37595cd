"""Waiting calls on real workers: they end by their age, and calls that a pause holds back are not lost."""

from __future__ import annotations

import json
import threading

import pytest

from relay.accept.intake import TriggerRequest
from relay.domain.invocation import Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import closed_port, raw_answer, receiver
from tests.timing import wait_until

AGE_S = 2


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_LEASE_MARGIN="2") as harness:
        harness.start_worker()
        yield harness


def answer(connection, _request):
    connection.send(raw_answer(200, b'{"ok":true}', ("Content-Type", "application/json")))


def age_s(record):
    return (record.finished_at_ms - record.created_at_ms) / 1000


def test_a_call_whose_endpoint_is_away_ends_by_its_age_and_not_after_all_its_attempts(harness):
    dead = f"http://127.0.0.1:{closed_port()}/"
    policy = {"attempts": 50, "initial": 600, "maximum": 600}
    harness.register({**hook(dead, retry=policy, maxAge=f"{AGE_S}s"), "id": "away"})
    refs = harness.trigger_many(40, "away")  # more than it takes to open the breaker
    for record in harness.finals(refs, within_s=AGE_S + 10):
        assert (record.state, record.outcome) == (State.UNREACHABLE, Outcome.EXPIRED)
        assert record.attempts[-1].outcome is Outcome.EXPIRED
        assert record.attempts[-1].sent is Sent.NO
        assert AGE_S <= age_s(record) < AGE_S + 5


def test_calls_of_a_paused_webhook_end_by_their_age_and_the_others_go_on(harness):
    with receiver(answer) as endpoint:
        url = f"http://127.0.0.1:{endpoint.port}/"
        harness.register(hook(url, maxAge=AGE_S), {**hook(url), "id": "other"})
        harness.runtime.policies.pause("acme", "hook")
        held = harness.trigger_many(20)
        assert harness.final(harness.trigger("other")).state is State.DELIVERED
        for record in harness.finals(held, within_s=AGE_S + 10):
            assert record.outcome is Outcome.EXPIRED
            assert AGE_S <= age_s(record) < AGE_S + 5
        for ready in harness.runtime.policies.resume("acme", "hook"):
            harness.runtime.publisher.publish_ready(ready)
        assert harness.final(harness.trigger()).state is State.DELIVERED


def test_a_chain_that_is_paused_while_its_step_is_under_way_loses_nothing(harness):
    arrived, go = threading.Event(), threading.Event()

    def wait(connection, request):
        arrived.set()
        go.wait(20)
        answer(connection, request)

    with receiver(wait) as endpoint:
        step = {**hook(f"http://127.0.0.1:{endpoint.port}/"), "id": "step"}
        harness.register(
            step, {"id": "chain", "steps": [{"webhook": "step", "data": "input.data"}, {"webhook": "step"}]}
        )
        ref = harness.trigger("chain", {"n": 1})
        assert arrived.wait(20)
        harness.runtime.policies.pause("acme", "chain")
        go.set()
        wait_until(lambda: harness.record(ref).steps and harness.record(harness.record(ref).steps[0]).state.final, 20)
        wait_until(lambda: harness.runtime.policies.traffic("acme", "chain").parked == 1, 20)
        (made,) = harness.record(ref).steps
        assert harness.record(made).state is State.DELIVERED
        for ready in harness.runtime.policies.resume("acme", "chain"):
            harness.runtime.publisher.publish_ready(ready)
        assert harness.final(ref).state is State.DELIVERED
        assert json.loads(json.dumps(harness.data(ref))) == {"ok": True}
        assert harness.runtime.policies.traffic("acme", "step").running == 0


def test_a_paused_chain_past_its_deadline_ends(harness):
    with receiver(answer) as endpoint:
        step = {**hook(f"http://127.0.0.1:{endpoint.port}/"), "id": "step"}
        harness.register(step, {"id": "chain", "timeout": AGE_S, "steps": [{"webhook": "step"}]})
        harness.runtime.policies.pause("acme", "chain")
        record = harness.final(harness.trigger("chain"), within_s=AGE_S + 10)
        assert (record.state, record.outcome) == (State.UNREACHABLE, Outcome.CHAIN_TIMEOUT)
        assert AGE_S <= age_s(record) < AGE_S + 5


def test_a_delayed_call_is_sent_when_its_time_has_come_and_not_before(harness):
    delay_s = 2
    with receiver(answer) as endpoint:
        harness.register({**hook(f"http://127.0.0.1:{endpoint.port}/"), "id": "later"})
        call = TriggerRequest("acme", "later", {"data": {"n": 1}, "delay": delay_s}, new_reference_id(), "k1")
        ref = harness.runtime.dispatcher.trigger(call).reference_id
        record = harness.final(ref)
        assert record.state is State.DELIVERED
        assert delay_s * 1000 <= record.attempts[0].started_at_ms - record.created_at_ms < (delay_s + 5) * 1000


def test_a_removed_webhook_s_calls_end_though_nobody_goes_on_and_its_id_begins_anew(harness):
    with receiver(answer) as endpoint:
        gone = {**hook(f"http://127.0.0.1:{endpoint.port}/"), "id": "gone"}
        harness.register(gone)
        harness.runtime.policies.pause("acme", "gone")
        held = harness.trigger_many(200, "gone")
        wait_until(lambda: harness.runtime.policies.traffic("acme", "gone").parked == len(held), 20)
        assert harness.runtime.registry.remove("acme", "gone")  # the removing process is killed at this point
        harness.register(gone)
        assert harness.final(harness.trigger("gone")).state is State.DELIVERED
        for record in harness.finals(held, within_s=20):
            assert (record.state, record.outcome) == (State.REJECTED, Outcome.WEBHOOK_NOT_REGISTERED)


@pytest.mark.parametrize("freed", [{"concurrency": 12}, {}])
def test_a_wider_cap_lets_the_backlog_out_at_the_new_width(harness, freed):
    inside, most, lock, go = [0], [0], threading.Lock(), threading.Event()

    def wait(connection, request):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        go.wait(20)
        with lock:
            inside[0] -= 1
        answer(connection, request)

    with receiver(wait) as endpoint:
        narrow = {**hook(f"http://127.0.0.1:{endpoint.port}/"), "id": f"narrow{len(freed)}"}
        harness.register({**narrow, "concurrency": 1})
        refs = harness.trigger_many(12, narrow["id"])
        wait_until(lambda: harness.runtime.policies.traffic("acme", narrow["id"]).parked == 11, 20)
        harness.register({**narrow, **freed})
        wait_until(lambda: most[0] == 12, 10)  # while the first one is still being sent
        go.set()
        assert {record.state for record in harness.finals(refs)} == {State.DELIVERED}
