"""What workers measure themselves, as the page for Prometheus shows it."""

from __future__ import annotations

import signal

import pytest

from relay.wiring.runtime import Runtime
from tests.integration.test_metrics_page import samples_of, value
from tests.integration.worker_harness import hook, worker_harness
from tests.processes import signal_group
from tests.receivers import answer, in_turn, json_answer, receiver
from tests.timing import wait_until

OK = json_answer({"ok": True})
LABELS = {"plugin": "acme", "webhook": "hook"}


@pytest.fixture
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness:
        yield harness


def counted(harness, name, **labels):
    return value(samples_of(harness.runtime.metrics_page.text().decode()), name, **(LABELS | labels)) or 0


def test_queue_delays_and_attempts_are_gathered_and_outlive_their_worker(harness):
    with receiver(in_turn(answer(503), *[OK] * 20)) as endpoint:
        harness.register(hook(endpoint.url, retry={"attempts": 2, "initial": 0.05}))
        refs = harness.trigger_many(10)
        process = harness.start_worker()
        harness.finals(refs)
    wait_until(lambda: counted(harness, "relay_attempt_duration_seconds_count") == 11, 15)
    assert counted(harness, "relay_queue_delay_seconds_count") == 10  # a retry's delay is intended, and not counted
    assert counted(harness, "relay_duration_seconds_count") == 10
    waited_s = counted(harness, "relay_queue_delay_seconds_sum")
    assert 0 < waited_s <= counted(harness, "relay_duration_seconds_sum")
    signal_group(process)
    assert counted(harness, "relay_attempt_duration_seconds_count") == 11


def test_a_worker_that_stops_brings_what_it_has_gathered(harness):
    with receiver(OK) as endpoint:
        harness.register(hook(endpoint.url))
        process = harness.start_worker()
        harness.final(harness.trigger())
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert counted(harness, "relay_attempt_duration_seconds_count") == 1


def test_notes_are_counted_although_nobody_reads_them_and_sweeps_are_counted(harness):
    with receiver(OK) as endpoint:
        harness.register(hook(endpoint.url))
        harness.start_worker()
        harness.finals(harness.trigger_many(5))
    notes = "relay:{0}:p:acme:notes"
    wait_until(lambda: not harness.runtime.client.exists(notes), 15)
    assert isinstance(harness.runtime, Runtime)
    page = samples_of(harness.runtime.metrics_page.text().decode())
    assert value(page, "relay_sweeps_total") > 0
    assert value(page, "relay_workers", lane="bulk") == 1
