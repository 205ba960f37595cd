"""Calls that arrive one by one are taken together by a worker that is the slower part; a lone call waits for nobody."""

from __future__ import annotations

import json
import random
import threading
import time
from contextlib import contextmanager
from functools import partial

import psutil
import pytest

from relay.executor.group_queue import GROUP_ITEMS
from relay.queue import GROUP_IDS
from relay.store.keys.names import ROOT, key_in
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, receiver
from tests.timing import BUSY_S, wait_until

CALLERS = 8
RUN_S = 4.0
PAUSE_S = 0.004  # on average, between two calls of one caller
STOPPED_S, RUNNING_S = 0.15, 0.05  # a worker that gets a quarter of the time
OTHERS = 2  # clients that keep the server busy
BUSY_SCRIPT = "for _ = 1, 1e6 do end"  # some 10 ms


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness, receiver(json_answer({"ok": True})) as endpoint:
        harness.register(hook(endpoint.url))
        harness.worker = harness.start_worker()
        harness.final(harness.trigger())
        yield harness


def counted(harness):
    stats = harness.runtime.client.info("commandstats")
    return {name: stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("lpush", "fcall", "ltrim")}


def spent(harness, act):
    """Return what ``act`` returns, and how often it made the server run each command."""
    before = counted(harness)
    result = act()
    return result, {name: count - before[name] for name, count in counted(harness).items()}


def arrivals(harness):
    """Let callers who know nothing of each other make calls, each with random pauses; return the reference ids."""
    refs, until_s = [], time.monotonic() + RUN_S

    def call(seed):
        pauses = random.Random(seed)
        while time.monotonic() < until_s:
            refs.append(harness.trigger())
            time.sleep(pauses.expovariate(1 / PAUSE_S))

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(CALLERS)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    return refs


@contextmanager
def slowed(process):
    """Stop and continue a process again and again."""
    over, worker = threading.Event(), psutil.Process(process.pid)

    def slow():
        while not over.wait(RUNNING_S):
            worker.suspend()
            time.sleep(STOPPED_S)
            worker.resume()

    slowing = threading.Thread(target=slow)
    slowing.start()
    try:
        yield
    finally:
        over.set()
        slowing.join()


@contextmanager
def busy(server_client):
    """Keep the server busy for others, one script after the other, as doors do that accept much."""
    over = threading.Event()

    def keep_busy():
        while not over.is_set():
            server_client.eval(BUSY_SCRIPT, 0)

    others = [threading.Thread(target=keep_busy) for _ in range(OTHERS)]
    for each in others:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in others:
            each.join()


def settled_together(harness, refs):
    """Return how many of these calls were settled in each script, once the worker has said so of all of them."""
    sizes = []

    def are_told():
        whole = [line for line in harness.log.read_text().split("\n")[:-1] if '"calls_settled"' in line]
        sizes[:] = [sum(call[0] in refs for call in json.loads(line)["calls"]) for line in whole]
        return sum(sizes) == len(refs)

    wait_until(are_told, BUSY_S)
    return sizes


def test_what_waits_for_a_slow_worker_is_taken_in_groups_however_it_arrived(harness):
    with slowed(harness.worker):
        refs, cost = spent(harness, lambda: _all_final(harness, arrivals(harness)))
    assert len(refs) > 10 * CALLERS
    assert cost["lpush"] < len(refs) / 2  # messages; with one id in each there would be as many as calls
    assert cost["ltrim"] < len(refs) / 2  # takes
    assert cost["fcall"] < 2.2 * len(refs)  # an accept each, as callers come one by one; take, claim, settle in groups


def test_a_backlog_of_single_calls_is_taken_in_full_groups(harness):
    count = 3 * GROUP_IDS + 1
    worker, script_runs = psutil.Process(harness.worker.pid), []
    for _ in range(3):
        worker.suspend()
        try:
            refs, cost = spent(harness, lambda: [harness.trigger() for _ in range(count)])
        finally:
            worker.resume()
        assert cost["lpush"] == 4  # what an operator reads in Flower: one message for every 128 calls that wait
        _, cost = spent(harness, partial(_all_final, harness, refs))
        assert cost["ltrim"] < 16  # 4 groups; notes are counted once a second in the same way
        script_runs.append(cost["fcall"])
    assert min(script_runs) < count / 3  # on a busy machine, calls end one by one, and so few are settled together


def test_while_the_server_is_busy_with_others_a_worker_settles_more_at_a_time(harness):
    with busy(harness.runtime.client):
        refs = _all_final(harness, harness.trigger_many(4 * GROUP_IDS))
    assert GROUP_ITEMS < max(settled_together(harness, set(refs))) <= GROUP_IDS


def test_a_call_that_comes_alone_waits_for_nobody(harness):
    waited = []
    for _ in range(5):
        asked_s = time.monotonic()
        ref = harness.trigger()
        while not harness.record(ref).state.final:
            assert time.monotonic() - asked_s < BUSY_S
            time.sleep(0.002)
        waited.append(time.monotonic() - asked_s)
    assert min(waited) < 0.5  # a look at the lists, without a message, comes once a second


def test_a_call_whose_message_is_lost_is_found_by_a_look_at_the_lists(harness, monkeypatch):
    publisher = harness.runtime.publisher
    monkeypatch.setattr(publisher, "messages", lambda lanes, _: [(lane, b"") for lane in lanes])
    monkeypatch.setattr(publisher, "announce", lambda _messages: None)
    ref = harness.trigger()
    harness.final(ref)
    assert harness.runtime.client.llen(key_in(ROOT, "waiting", lane="bulk")) == 0


def _all_final(harness, refs):
    harness.finals(refs)
    return refs
