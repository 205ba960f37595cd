"""Parked calls go on as soon as a worker has room for them, and only calls with room are woken."""

from __future__ import annotations

import threading

import pytest

from relay.domain.shares import capacity_left
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, receiver
from tests.store_keys import KEYS
from tests.timing import least, wait_until

OK = json_answer({"ok": True})
SLOTS = 64
ALONE = capacity_left(0, SLOTS)  # how many slots one webhook may hold
CALLS = 1_500
ANSWER_S = 0.03


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_MAX_IN_FLIGHT=str(SLOTS)) as harness:
        harness.start_worker()
        yield harness


class Endpoint:
    """An endpoint that answers when the test allows it, and counts the calls that it holds."""

    def __init__(self, *, answers=True, after_s=0.0):
        self.may_answer = threading.Event()
        self.running = self.most = 0
        self._after_s = after_s
        self._lock = threading.Lock()
        if answers:
            self.may_answer.set()

    def __call__(self, connection, request):
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.may_answer.wait(60)
        threading.Event().wait(self._after_s)
        with self._lock:
            self.running -= 1
        OK(connection, request)


def standing(client):
    stats = client.info("commandstats")
    calls = {name: each["calls"] for name, each in stats.items()}
    return {"commands": sum(calls.values()), "runs": calls["cmdstat_fcall"], "messages": calls.get("cmdstat_lpush", 0)}


def cost_of(harness, webhook):
    """Return the server commands, script runs and messages that CALLS calls take, and the lane's greatest depth."""
    client, deepest = harness.runtime.client, 0
    before = standing(client)
    harness.trigger_many(CALLS, webhook)

    def is_done():
        nonlocal deepest
        deepest = max(deepest, client.llen("bulk"))
        return client.hget(KEYS.pending(), "count") == b"0"

    wait_until(is_done, 60, every_s=0.1)
    after = standing(client)
    return {name: after[name] - before[name] for name in before} | {"deepest": deepest}


@pytest.mark.parametrize("concurrency", [ALONE + 20, 1_000])
def test_a_cap_beyond_a_process_s_share_costs_no_more_than_none(harness, concurrency):
    with receiver(Endpoint(after_s=ANSWER_S)) as endpoint:
        harness.register(
            hook(endpoint.url) | {"id": "free"}, hook(endpoint.url, concurrency=concurrency) | {"id": "capped"}
        )
        cost_of(harness, "free")  # warm up
        costs = []

        def share_of_bounds():
            costs.append((cost_of(harness, "free"), cost_of(harness, "capped")))
            free, capped = costs[-1]
            bounds = {
                "commands": 1.2 * free["commands"],
                "runs": 1.5 * free["runs"] + 50,
                "messages": 1.2 * free["messages"] + 20,
                "deepest": 40,
            }
            return max(capped[name] / bound for name, bound in bounds.items())

        # The machine decides how calls are grouped, and each group takes some commands.
        assert least(share_of_bounds, wanted=0.99) < 1, costs


def test_a_wider_cap_lets_the_backlog_out_at_its_width(harness):
    endpoint = Endpoint(answers=False)
    with receiver(endpoint) as at:
        harness.register(hook(at.url, concurrency=2, timeout=60))
        refs = harness.trigger_many(60)
        wait_until(lambda: harness.runtime.policies.traffic("acme", "hook").parked == 58, 10)
        harness.register(hook(at.url, concurrency=40, timeout=60))
        wait_until(lambda: endpoint.running == 40, 10)
        endpoint.may_answer.set()
        harness.finals(refs)
    assert endpoint.most == 40


def test_a_webhook_that_a_neighbour_squeezed_has_its_share_again_when_the_neighbour_has_left(harness):
    neighbour, squeezed = Endpoint(answers=False), Endpoint(answers=False)
    with receiver(neighbour) as first, receiver(squeezed) as second:
        harness.register(hook(first.url, timeout=60) | {"id": "neighbour"}, hook(second.url, timeout=60))
        refs = harness.trigger_many(ALONE, "neighbour")
        wait_until(lambda: neighbour.running == ALONE, 10)
        refs += harness.trigger_many(100)
        wait_until(lambda: harness.runtime.policies.traffic("acme", "hook").parked > 80, 10)
        assert squeezed.running < 20
        neighbour.may_answer.set()
        wait_until(lambda: squeezed.running == ALONE, 10)  # although none of its own calls has ended
        squeezed.may_answer.set()
        harness.finals(refs)


def test_what_one_worker_has_parked_another_with_room_runs(harness):
    endpoint = Endpoint(answers=False)
    with receiver(endpoint) as at:
        harness.register(hook(at.url, timeout=60))
        refs = harness.trigger_many(100)
        wait_until(lambda: endpoint.running == ALONE, 10)
        wait_until(lambda: harness.runtime.policies.traffic("acme", "hook").parked == 100 - ALONE, 10)
        harness.start_worker(number=2)
        wait_until(lambda: endpoint.running == 100, 10)
        endpoint.may_answer.set()
        harness.finals(refs)
