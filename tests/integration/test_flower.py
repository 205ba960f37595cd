"""A real Flower beside real workers: what it shows of invocations, and that it lists every lane."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import requests

from bench.ports import free_port
from relay.domain.invocation import State
from relay.queue import LANES
from relay.up.processes import flower
from tests.forked_processes import ROOT
from tests.integration.worker_harness import hook, worker_harness
from tests.processes import signal_group
from tests.receivers import answer, closed_port, in_turn, json_answer, receiver
from tests.timing import wait_until

AUTH = ("desk", "a-password-of-the-test")
SECRET = "content-that-nobody-may-see"
OK = json_answer({"said": SECRET})
PREPARED = """
{}
import runpy
runpy.run_module("workers.flower", run_name="__main__", alter_sys=True)
"""


def slow_start(_connection, _request):
    time.sleep(5)


class Flower:
    def __init__(self, url):
        self.url = url

    def get(self, path, **query):
        response = requests.get(self.url + path, params=query, auth=AUTH, timeout=10)
        assert response.status_code == 200, response.text[:300]
        return response

    def hears_workers(self):
        """Return whether events reach Flower: it answers requests before it subscribes to events."""
        return any(worker["status"] for worker in self.get("/workers", json=1).json()["data"])

    def tasks(self, **query):
        return self.get("/api/tasks", limit=5000, **query).json()


@contextmanager
def running_flower(harness, *, prepared=""):
    """Run Flower; ``prepared`` is Python code that its process runs first."""
    port = free_port()
    process = flower(port=port)
    with harness.log.open("ab") as log:
        running = subprocess.Popen(
            [sys.executable, "-c", PREPARED.format(prepared), *process.command[3:]],
            cwd=ROOT,
            env={**os.environ, **harness.environ, "RELAY_FLOWER_AUTH": ":".join(AUTH)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    shown = Flower(f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: _answers(shown), 40, every_s=0.2)
        yield shown
    finally:
        signal_group(running)
        running.wait(10)


def _answers(shown):
    try:
        return shown.get("/api/workers")
    except (requests.ConnectionError, AssertionError):
        return False


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_LEASE_MARGIN="1") as harness:
        harness.start_worker("bulk")
        with running_flower(harness) as shown:
            wait_until(shown.hears_workers)
            harness.flower = shown
            yield harness


def shown(harness, reference_ids, within_s=20):
    """Wait until Flower shows all of these; return what it shows of them."""
    wait_until(lambda: set(reference_ids) <= set(harness.flower.tasks()), within_s, every_s=0.3)
    return [harness.flower.tasks()[ref] for ref in reference_ids]


def test_an_invocation_is_a_task_with_its_state_and_nothing_of_its_contents(harness):
    with receiver(in_turn(OK, answer(503, SECRET.encode()))) as endpoint:
        harness.register(
            hook(endpoint.url),
            {**hook(f"https://127.0.0.1:{closed_port()}"), "id": "gone"},
        )
        good, bad, gone = (
            harness.trigger(data=SECRET),
            harness.trigger(data=SECRET),
            harness.trigger("gone", data=SECRET),
        )
        harness.finals([good, bad, gone])
    tasks = dict(zip((good, bad, gone), shown(harness, [good, bad, gone]), strict=True))
    by_state = {tasks[ref]["state"]: (tasks[ref]["name"], tasks[ref]["result"]) for ref in (good, bad)}
    assert by_state == {"SUCCESS": ("acme/hook", "200 answered"), "FAILURE": ("acme/hook", "503 answered")}
    assert (tasks[gone]["state"], tasks[gone]["name"], tasks[gone]["result"]) == (
        "FAILURE",
        "acme/gone",
        "0 connect_failed",
    )
    for ref, task in tasks.items():
        record = harness.record(ref)
        assert task["uuid"] == ref
        assert (task["args"], task["kwargs"], task["retries"], task["routing_key"]) == ("()", "{}", 0, "bulk")
        assert task["runtime"] == record.attempts[0].duration_ms / 1000
        assert task["worker"].startswith("bulk1@")
    pages = [harness.flower.get(path).text for path in ("/", "/tasks", f"/task/{good}", f"/task/{bad}", "/api/tasks")]
    for text in pages:
        assert SECRET not in text
        assert endpoint.url not in text


def test_a_retry_is_shown_and_then_its_end(harness):
    with receiver(in_turn(answer(503), OK)) as endpoint:
        harness.register(hook(endpoint.url, retry={"attempts": 2, "initial": 3}))
        ref = harness.trigger()
        (task,) = shown(harness, [ref])
        if harness.record(ref).state is State.RETRYING:
            assert (task["state"], task["result"]) == ("RETRY", "503 answered")
        harness.final(ref)
    wait_until(lambda: harness.flower.tasks()[ref]["state"] == "SUCCESS", 20, every_s=0.3)
    assert harness.flower.tasks()[ref]["retries"] == 1


def test_searching_a_reference_id_or_a_webhook_finds_it(harness):
    with receiver(OK) as endpoint:
        harness.register(hook(endpoint.url), {**hook(endpoint.url), "id": "wanted"})
        ref, other = harness.trigger("wanted"), harness.trigger()
        harness.finals([ref, other])
    shown(harness, [ref, other])
    for search in (ref, "acme/wanted", "wanted"):
        found = harness.flower.tasks(search=search)
        assert ref in found, search
        assert other not in found, search
    assert ref in harness.flower.get(f"/task/{ref}").text


def test_a_call_whose_worker_was_lost_is_a_failure(harness):
    with receiver(slow_start) as endpoint:
        harness.register({**hook(endpoint.url, timeout=2), "id": "lost"})
        ref = harness.trigger("lost", awaited=True)
        doomed = harness.start_worker("interactive")
        wait_until(lambda: harness.record(ref).state is State.SENDING, 20)
        signal_group(doomed)
        other = harness.start_worker("interactive", 2)
        assert harness.final(ref, 40).state is State.INTERRUPTED
        (task,) = shown(harness, [ref])
        signal_group(other)
    assert (task["state"], task["name"], task["result"]) == ("FAILURE", "acme/lost", "0 lease_lost")


def test_half_of_many_that_fail_are_seen_to_fail(harness):
    def half(connection, request):
        answer(500 if json.loads(request.body)["fails"] else 200)(connection, request)

    with receiver(half) as endpoint:
        harness.register(hook(endpoint.url))
        refs = harness.trigger_each([{"fails": number % 2} for number in range(300)], "hook")
        records = harness.finals(refs)
    tasks = shown(harness, refs)
    for record, task in zip(records, tasks, strict=True):
        assert task["state"] == ("FAILURE" if record.error else "SUCCESS")
    assert sum(task["state"] == "FAILURE" for task in tasks) == 150


def test_every_lane_is_on_the_broker_page_also_when_a_worker_has_just_died(harness):
    urgent = harness.start_worker("interactive")

    def lanes():
        harness.flower.get("/api/workers", refresh=1)
        return [queue["name"] for queue in harness.flower.get("/api/queues/length").json()["active_queues"]]

    wait_until(lambda: set(LANES) <= set(lanes()), 20, every_s=0.3)
    signal_group(urgent)
    for _ in range(5):
        assert lanes() == list(LANES)
        page = harness.flower.get("/broker").text
        assert all(f">{lane}<" in page.replace(" ", "").replace("\n", "") for lane in LANES)
        time.sleep(0.3)
