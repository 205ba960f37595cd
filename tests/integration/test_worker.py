"""Real workers: retries, caps, rates, shares, drains and losses."""

from __future__ import annotations

import signal
import threading
import time
from itertools import count

import pytest

from relay.domain.invocation import Outcome, Sent, State
from tests.integration.worker_harness import hook, worker_harness
from tests.processes import busy_s, signal_group
from tests.receivers import answer, closed_port, full_backlog, in_turn, json_answer, once_set, receiver, slow
from tests.timing import BUSY_S, least, wait_until

OK = json_answer({"ok": True})


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_LEASE_MARGIN="2", RELAY_MAX_IN_FLIGHT="64") as harness:
        harness.start_worker()
        yield harness


def test_a_retry_policy_tries_again_and_keeps_a_record_of_each_attempt(harness):
    with receiver(in_turn(answer(503), answer(503), OK)) as endpoint:
        harness.register(hook(endpoint.url, retry={"attempts": 3, "initial": 0.05}))
        record = harness.final(harness.trigger(data={"a": 1}))
    assert record.state is State.DELIVERED
    assert [(attempt.number, attempt.status) for attempt in record.attempts] == [(1, 503), (2, 503), (3, 200)]
    assert len({request.header("webhook-id") for request in endpoint.requests}) == 1


def test_the_last_attempts_answer_is_the_result(harness):
    with receiver(answer(503, b"busy", ("Content-Type", "text/plain"))) as endpoint:
        harness.register(hook(endpoint.url, retry={"attempts": 2, "initial": 0.05}))
        ref = harness.trigger()
        record = harness.final(ref)
    assert (record.state, record.status, record.error, len(record.attempts)) == (State.DELIVERED, 503, True, 2)
    assert harness.data(ref) == "busy"


def test_retry_after_is_honoured(harness):
    with receiver(in_turn(answer(429, b"", ("Retry-After", "2")), OK)) as endpoint:
        harness.register(hook(endpoint.url, retry={"attempts": 2, "initial": 0.01}))
        record = harness.final(harness.trigger())
    first, second = record.attempts
    assert second.started_at_ms - first.started_at_ms >= 2_000


def test_an_unrepeatable_call_whose_answer_never_came_is_not_sent_again(harness):
    def silent(connection, _request):
        connection.close()

    with receiver(silent) as endpoint:
        harness.register(hook(endpoint.url, retry={"attempts": 3, "initial": 0.01}))
        record = harness.final(harness.trigger(data={"a": 1}))
        time.sleep(0.3)
    assert (record.state, record.attempts[0].sent) == (State.UNREACHABLE, Sent.MAYBE)
    assert len(endpoint.requests) == 1


def test_a_call_that_never_left_is_tried_again_for_any_method(harness):
    harness.register(hook(f"http://127.0.0.1:{closed_port()}/", retry={"attempts": 3, "initial": 0.01}))
    record = harness.final(harness.trigger())
    assert [(attempt.outcome, attempt.sent) for attempt in record.attempts] == [(Outcome.CONNECT_FAILED, Sent.NO)] * 3


def test_a_webhook_never_has_more_calls_at_once_than_its_cap_and_stays_busy(harness):
    running, most = [], []

    def watched(connection, request):
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()
        OK(connection, request)

    with receiver(watched) as endpoint:
        harness.register(hook(endpoint.url, concurrency=4))
        records = harness.finals(harness.trigger_many(80))
    assert {record.state for record in records} == {State.DELIVERED}
    assert max(most) == 4


def test_a_rate_is_kept(harness):
    with receiver(OK) as endpoint:
        harness.register(hook(endpoint.url, rate="10/s"))
        began = time.monotonic()
        harness.finals(harness.trigger_many(30))
        took_s = time.monotonic() - began
    assert took_s > 1.8  # ten at once, then twenty more at ten a second


def test_one_webhook_cannot_take_all_slots_of_a_process(harness):
    go_on = threading.Event()
    with receiver(once_set(go_on, OK)) as sluggish, receiver(OK) as quick:
        harness.register(hook(sluggish.url), hook(quick.url) | {"id": "quick"})
        slow_refs = harness.trigger_many(100)
        wait_until(lambda: len(sluggish.requests) >= 40, 20)
        harness.final(harness.trigger("quick"))  # while those hold their slots
        go_on.set()
        harness.finals(slow_refs)


def test_a_webhook_removed_while_calls_wait_rejects_them(harness):
    with receiver(OK) as endpoint:
        harness.register(hook(endpoint.url))
        harness.runtime.policies.pause("acme", "hook")
        ref = harness.trigger()
        wait_until(lambda: harness.runtime.policies.traffic("acme", "hook").parked == 1, 10)
        harness.runtime.registry.remove("acme", "hook")
        for ready in harness.runtime.policies.resume("acme", "hook"):
            harness.runtime.publisher.publish_ready(ready)
        record = harness.final(ref)
    assert (record.state, record.outcome, record.attempts) == (State.REJECTED, Outcome.WEBHOOK_NOT_REGISTERED, ())
    assert not endpoint.requests


def test_a_lost_message_is_found_within_the_grace(harness):
    with receiver(OK) as endpoint:
        harness.register(hook(endpoint.url))
        harness.runtime.policies.pause("acme", "hook")
        refs = harness.trigger_many(3)
        wait_until(lambda: harness.runtime.policies.traffic("acme", "hook").parked == 3, 10)
        for ready in harness.runtime.policies.resume("acme", "hook"):
            assert len(ready) == 3  # and their messages are never published
        harness.finals(refs, within_s=30)


def test_a_stop_lets_running_calls_end_and_gives_the_others_back(tmp_path_factory):
    with (
        worker_harness(tmp_path_factory) as harness,
        receiver(slow(1.0, OK)) as endpoint,
        full_backlog() as port,  # connections to it are being opened, and nothing has been sent
    ):
        process = harness.start_worker()
        harness.register(hook(endpoint.url), hook(f"http://127.0.0.1:{port}/", timeout=60) | {"id": "unsent"})
        running, unsent = harness.trigger_many(20), harness.trigger_many(10, "unsent")
        wait_until(lambda: len(endpoint.requests) == 20, 10)
        wait_until(lambda: {harness.record(ref).state for ref in unsent} == {State.SENDING}, 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert {harness.record(ref).state for ref in running} == {State.DELIVERED}
        assert len(endpoint.requests) == 20
        given_back = [harness.record(ref) for ref in unsent]
        assert {(record.state, record.attempts, record.losses) for record in given_back} == {(State.QUEUED, (), 0)}


def test_an_idle_worker_stops_before_celery_would_look_whether_it_has_to(harness):
    """Celery checks between waits of two seconds each; when one had just begun, a stop took more than four seconds."""
    numbers = count(3)

    def idle_s():
        process = harness.start_worker(number=next(numbers))
        began_s, before_s = time.monotonic(), busy_s(process.pid)
        used_s = 0.0
        process.terminate()
        while process.poll() is None:
            used_s = max(used_s, busy_s(process.pid) - before_s)
            time.sleep(0.005)
        assert process.wait(0) == 0
        return time.monotonic() - began_s - used_s

    assert least(idle_s, wanted=1.5, tries=5) <= 1.5  # on an idle machine a third of it


def test_a_killed_workers_unrepeatable_calls_end_interrupted_and_repeatable_ones_are_sent_again(tmp_path_factory):
    with (
        worker_harness(tmp_path_factory, RELAY_LEASE_MARGIN="1") as harness,
        receiver(slow(1.5, OK)) as endpoint,
    ):
        process = harness.start_worker()
        harness.register(
            hook(endpoint.url, timeout=2),
            hook(endpoint.url, timeout=2) | {"id": "again", "method": "PUT"},
        )
        once, again = harness.trigger("hook"), harness.trigger("again")
        wait_until(lambda: len(endpoint.requests) == 2, 10)
        signal_group(process)
        process.wait(10)
        killed = time.monotonic()
        harness.start_worker(number=2)
        first, second = harness.final(once, 30), harness.final(again, 30)
        assert (
            time.monotonic() - killed < 3 + 5 + 6 + BUSY_S
        )  # lease end + 5 s, and the time a new worker takes to start
    assert (first.state, first.outcome) == (State.INTERRUPTED, Outcome.LEASE_LOST)
    assert second.state is State.DELIVERED
    assert [attempt.outcome for attempt in second.attempts] == [Outcome.LEASE_LOST, Outcome.ANSWERED]
    receipts = [request.header("webhook-id") for request in endpoint.requests]
    assert (receipts.count(once), receipts.count(again)) == (1, 2)
