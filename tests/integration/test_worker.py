"""Real workers: retries, caps, rates, shares, drains and losses."""

from __future__ import annotations

import os
import signal
import time

import pytest

from relay.invocation import Outcome, Sent, State
from tests.integration.worker_house import hook, until, worker_house
from tests.receivers import answer, closed_port, in_turn, json_answer, receiver, slow

OK = json_answer({"ok": True})


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with worker_house(tmp_path_factory, RELAY_LEASE_MARGIN="2", RELAY_MAX_IN_FLIGHT="64") as house:
        house.start_worker()
        yield house


def test_a_retry_policy_tries_again_and_keeps_a_record_of_each_attempt(house):
    with receiver(in_turn(answer(503), answer(503), OK)) as endpoint:
        house.register(hook(endpoint.url, retry={"attempts": 3, "initial": 0.05}))
        record = house.final(house.trigger(data={"a": 1}))
    assert record.state is State.DELIVERED
    assert [(attempt.number, attempt.status) for attempt in record.attempts] == [(1, 503), (2, 503), (3, 200)]
    assert len({request.header("webhook-id") for request in endpoint.requests}) == 1


def test_the_last_attempts_answer_is_the_result(house):
    with receiver(answer(503, b"busy", ("Content-Type", "text/plain"))) as endpoint:
        house.register(hook(endpoint.url, retry={"attempts": 2, "initial": 0.05}))
        ref = house.trigger()
        record = house.final(ref)
    assert (record.state, record.status, record.error, len(record.attempts)) == (State.DELIVERED, 503, True, 2)
    assert house.data(ref) == "busy"


def test_retry_after_is_honoured(house):
    with receiver(in_turn(answer(429, b"", ("Retry-After", "2")), OK)) as endpoint:
        house.register(hook(endpoint.url, retry={"attempts": 2, "initial": 0.01}))
        record = house.final(house.trigger())
    first, second = record.attempts
    assert second.started_at_ms - first.started_at_ms >= 2_000


def test_an_unrepeatable_call_whose_answer_never_came_is_not_sent_again(house):
    def silent(connection, _request):
        connection.close()

    with receiver(silent) as endpoint:
        house.register(hook(endpoint.url, retry={"attempts": 3, "initial": 0.01}))
        record = house.final(house.trigger(data={"a": 1}))
        time.sleep(0.3)
    assert (record.state, record.attempts[0].sent) == (State.UNREACHABLE, Sent.MAYBE)
    assert len(endpoint.requests) == 1


def test_a_call_that_never_left_is_tried_again_for_any_method(house):
    house.register(hook(f"http://127.0.0.1:{closed_port()}/", retry={"attempts": 3, "initial": 0.01}))
    record = house.final(house.trigger())
    assert [(attempt.outcome, attempt.sent) for attempt in record.attempts] == [(Outcome.CONNECT_FAILED, Sent.NO)] * 3


def test_a_webhook_never_has_more_calls_at_once_than_its_cap_and_stays_busy(house):
    running, most = [], []

    def watched(connection, request):
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()
        OK(connection, request)

    with receiver(watched) as endpoint:
        house.register(hook(endpoint.url, concurrency=4))
        began = time.monotonic()
        records = house.finals(house.trigger_many(80))
        took_s = time.monotonic() - began
    assert {record.state for record in records} == {State.DELIVERED}
    assert max(most) <= 4
    assert took_s < 80 / 4 * 0.05 * 3  # one after the other would take four times as long


def test_a_rate_is_kept(house):
    with receiver(OK) as endpoint:
        house.register(hook(endpoint.url, rate="10/s"))
        began = time.monotonic()
        house.finals(house.trigger_many(30))
        took_s = time.monotonic() - began
    assert took_s > 1.8  # ten at once, then twenty more at ten a second


def test_one_webhook_cannot_take_all_slots_of_a_process(house):
    with receiver(slow(1.5, OK)) as sluggish, receiver(OK) as quick:
        house.register(hook(sluggish.url), hook(quick.url) | {"id": "quick"})
        slow_refs = house.trigger_many(100)
        until(lambda: len(sluggish.requests) >= 40, 10)
        began = time.monotonic()
        house.final(house.trigger("quick"))
        took_s = time.monotonic() - began
        house.finals(slow_refs)
    assert took_s < 1.0


def test_a_webhook_removed_while_calls_wait_rejects_them(house):
    with receiver(OK) as endpoint:
        house.register(hook(endpoint.url))
        house.runtime.policies.pause("acme", "hook")
        ref = house.trigger()
        until(lambda: house.runtime.policies.traffic("acme", "hook").parked == 1, 10)
        house.runtime.registry.remove("acme", "hook")
        for ready in house.runtime.policies.resume("acme", "hook"):
            house.runtime.publisher.publish_ready(ready)
        record = house.final(ref)
    assert (record.state, record.outcome, record.attempts) == (State.REJECTED, Outcome.WEBHOOK_NOT_REGISTERED, ())
    assert not endpoint.requests


def test_a_lost_message_is_found_within_the_grace(house):
    with receiver(OK) as endpoint:
        house.register(hook(endpoint.url))
        house.runtime.policies.pause("acme", "hook")
        refs = house.trigger_many(3)
        until(lambda: house.runtime.policies.traffic("acme", "hook").parked == 3, 10)
        for ready in house.runtime.policies.resume("acme", "hook"):
            assert len(ready) == 3  # and nobody publishes them
        house.finals(refs, within_s=12)


def test_a_stop_lets_running_calls_end_and_gives_the_others_back(tmp_path_factory):
    with worker_house(tmp_path_factory) as house, receiver(slow(1.0, OK)) as endpoint:
        process = house.start_worker()
        house.register(hook(endpoint.url))
        refs = house.trigger_many(20)
        until(lambda: len(endpoint.requests) == 20, 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert {house.record(ref).state for ref in refs} == {State.DELIVERED}
        assert len(endpoint.requests) == 20


def test_a_killed_workers_unrepeatable_calls_end_interrupted_and_repeatable_ones_are_sent_again(tmp_path_factory):
    with (
        worker_house(tmp_path_factory, RELAY_LEASE_MARGIN="1") as house,
        receiver(slow(1.5, OK)) as endpoint,
    ):
        process = house.start_worker()
        house.register(
            hook(endpoint.url, timeout=2),
            hook(endpoint.url, timeout=2) | {"id": "again", "method": "PUT"},
        )
        once, again = house.trigger("hook"), house.trigger("again")
        until(lambda: len(endpoint.requests) == 2, 10)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        killed = time.monotonic()
        house.start_worker(number=2)
        first, second = house.final(once, 15), house.final(again, 15)
        assert time.monotonic() - killed < 3 + 5 + 6  # lease end + 5 s, and the time a new worker takes to start
    assert (first.state, first.outcome) == (State.INTERRUPTED, Outcome.LEASE_LOST)
    assert second.state is State.DELIVERED
    assert [attempt.outcome for attempt in second.attempts] == [Outcome.LEASE_LOST, Outcome.ANSWERED]
    receipts = [request.header("webhook-id") for request in endpoint.requests]
    assert (receipts.count(once), receipts.count(again)) == (1, 2)


def test_a_worker_whose_callers_do_not_wait_gets_what_is_left_of_the_machine(tmp_path_factory):
    with worker_house(tmp_path_factory) as house:
        background, urgent = house.start_worker("bulk"), house.start_worker("interactive")
        assert os.getpriority(os.PRIO_PROCESS, background.pid) == 19
        assert os.getpriority(os.PRIO_PROCESS, urgent.pid) == os.getpriority(os.PRIO_PROCESS, 0)
