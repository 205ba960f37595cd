"""What a webhook or a lane costs its neighbours; `python -m bench.isolation` measures it."""

from __future__ import annotations

import threading
import time

import pytest

from relay.domain.invocation import State
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, receiver
from tests.timing import wait_until

OK = json_answer({"ok": True})
PLACES, ANSWER_S = 4, 0.2


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_MAX_IN_FLIGHT="64") as harness:
        harness.start_worker()
        yield harness


@pytest.fixture
def never():
    """An endpoint that answers when the test is over."""
    over = threading.Event()

    def script(connection, request):
        over.wait(60)
        OK(connection, request)

    with receiver(script) as endpoint:
        yield endpoint
        over.set()


def test_a_webhook_at_its_cap_is_busy_while_calls_wait(harness):
    running, most, times = [], [], []

    def watched(connection, request):
        times.append(time.monotonic())
        running.append(1)
        most.append(len(running))
        time.sleep(ANSWER_S)
        running.pop()
        OK(connection, request)

    calls = 80
    with receiver(watched) as endpoint:
        harness.register(hook(endpoint.url, concurrency=PLACES))
        harness.finals(harness.trigger_many(calls))
    busy = calls * ANSWER_S / PLACES / (times[-1] + ANSWER_S - times[0])
    assert max(most) <= PLACES
    assert busy > 0.55  # 0.9 on an idle machine; with two idle places it would be 0.5


def test_calls_parked_at_a_cap_cost_a_second_webhook_little(harness, never):
    with receiver(OK) as quick:
        harness.register(hook(never.url, concurrency=2, timeout=60), hook(quick.url) | {"id": "quick"})

        def drain_s(others):
            harness.trigger_many(others)
            began = time.monotonic()
            harness.finals(harness.trigger_many(500, "quick"))
            return time.monotonic() - began

        drain_s(0)  # warm up
        alone_s = drain_s(0)
        beside_s = drain_s(1_000)
        assert harness.runtime.policies.traffic("acme", "hook").parked == 998
        after_s = drain_s(0)
    assert beside_s < 5 * alone_s + 2  # while twice as many calls are parked
    assert after_s < 5 * alone_s + 2


def test_calls_behind_those_of_a_slow_webhook_do_not_wait_for_it(harness, never):
    with receiver(OK) as quick:
        # New names: calls left by earlier tests may open the breakers of the old ones.
        slow, other = {"id": "unanswered"}, {"id": "answered"}
        harness.register(hook(never.url, timeout=60) | slow, hook(quick.url) | other)
        harness.trigger_many(60, "unanswered")  # more than its share of 64 slots
        wait_until(lambda: harness.runtime.policies.traffic("acme", "unanswered").parked > 0)
        for _ in range(300):
            harness.trigger("unanswered")
        began = time.monotonic()
        record = harness.final(harness.trigger("answered"))
        took_s = time.monotonic() - began
    assert record.state is State.DELIVERED
    assert took_s < 9  # at a quarter of a second for every four messages it would be 18


def test_a_webhook_that_was_squeezed_by_a_neighbour_grows_back_within_a_second(harness):
    """Takes the best of a few tries, because other work may keep the machine busy."""
    may_end = threading.Event()

    def held(connection, request):
        may_end.wait(60)
        OK(connection, request)

    def slow(connection, request):
        time.sleep(0.3)
        OK(connection, request)

    def running(name):
        return harness.runtime.policies.traffic("acme", name).running

    def grown_back_s():
        may_end.clear()
        held_calls = harness.trigger_many(100, "neighbour")
        wait_until(lambda: running("neighbour") > 40)  # of 64 slots
        waiting = harness.trigger_many(400, "squeezed")
        wait_until(lambda: harness.runtime.policies.traffic("acme", "squeezed").parked > 300)
        assert running("squeezed") < 20
        may_end.set()
        began = time.monotonic()
        wait_until(lambda: running("squeezed") > 40, 10)
        took_s = time.monotonic() - began
        harness.finals(held_calls + waiting)
        return took_s

    with receiver(held) as neighbour, receiver(slow) as endpoint:
        # New names: calls left by earlier tests may have opened the breakers of the old ones.
        ids = ({"id": "neighbour"}, {"id": "squeezed"})
        urls = (neighbour.url, endpoint.url)
        harness.register(*(hook(url, timeout=60) | named for url, named in zip(urls, ids, strict=True)))
        tries = (grown_back_s() for _ in range(5))
        assert any(took_s < 1.0 for took_s in tries)
