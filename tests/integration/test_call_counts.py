"""Bounds what one call costs, in counts and without a clock: a change that makes calls more expensive fails here.

A bound is just above the count at the time when it was set; lower it with every change that makes calls cheaper. What a
script does once per run is counted per run, because the machine decides how calls are grouped.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.forked_processes import ROOT
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, receiver
from tests.store_keys import KEYS
from tests.timing import wait_until

CALLS = 300  # within a webhook's share of a process, so that no call is parked
CHAINS = 100
HELD = 1_000
OK = json_answer({"ok": True})


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness, receiver(OK) as endpoint:
        steps = [f"step-{number}" for number in range(3)]
        chain = {"id": "chain", "steps": [{"webhook": name, "data": "input.data"} for name in steps]}
        harness.register(hook(endpoint.url), *(hook(endpoint.url) | {"id": name} for name in steps), chain)
        yield harness


def counts(client):
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in client.info("commandstats").items()}


def spent(client, act):
    """Return how often ``act`` made the server run each command."""
    before = counts(client)
    act()
    return {name: calls - before.get(name, 0) for name, calls in counts(client).items()}


@pytest.fixture(scope="module")
def accepted(harness):
    """The commands that it takes to accept calls without a worker, and the bytes of server memory that each needs."""
    client = harness.runtime.client
    harness.trigger_many(50)
    held = client.info("memory")["used_memory_dataset"]
    cost = spent(client, lambda: harness.trigger_many(HELD))
    return cost, (client.info("memory")["used_memory_dataset"] - held) / HELD


@pytest.fixture(scope="module")
def drained(harness, accepted):
    """The commands that it takes a worker to run calls, after a warm-up."""
    client = harness.runtime.client
    harness.start_worker()
    wait_until(lambda: client.hget(KEYS.pending(), "count") == b"0", 60, every_s=0.2)

    def drain():
        harness.trigger_many(CALLS)
        wait_until(lambda: client.hget(KEYS.pending(), "count") == b"0", 60, every_s=0.2)

    drain()  # a warm-up
    return spent(client, drain)


def test_a_thousand_triggers_cause_few_messages(accepted):
    assert accepted[0]["lpush"] <= 8  # 1,000 / GROUP_IDS


def test_to_accept_a_call_takes_so_many_commands_and_script_runs(accepted):
    cost = accepted[0]
    assert cost["fcall"] <= 8  # one for each group
    assert sum(cost.values()) / HELD <= 3.2


def test_a_pending_record_takes_so_many_bytes(accepted):
    assert accepted[1] <= 1_100


def test_to_run_a_call_takes_so_many_commands(drained):
    once_a_run = 14 * drained["fcall"]
    assert (sum(drained.values()) - once_a_run) / CALLS <= 12.5  # accepted, read, claimed, settled


def test_to_run_a_call_takes_so_many_script_runs(drained):
    assert drained["fcall"] / CALLS <= 0.5


@pytest.mark.parametrize(
    ("command", "most"), [("hset", 3.05), ("hmget", 4.0), ("get", 1.1), ("set", 2.1), ("hget", 0.1), ("pexpire", 1.05)]
)
def test_a_record_is_read_and_written_so_often_a_call(drained, command, most):
    assert (drained[command] - drained["fcall"]) / CALLS <= most  # without one per run


@pytest.fixture(scope="module")
def chained(harness, drained):
    """The commands that it takes a worker to run chains of three steps, after a warm-up."""
    client = harness.runtime.client

    def drain():
        harness.trigger_many(CHAINS, "chain")
        wait_until(lambda: client.hget(KEYS.pending(), "count") == b"0", 60, every_s=0.2)

    drain()
    return spent(client, drain)


def test_to_run_a_chain_takes_so_many_script_runs(chained):
    assert chained["fcall"] / CHAINS <= 2  # one for each chain and step would be 10


def test_to_run_a_chain_takes_so_many_commands(chained):
    once_a_run = 14 * chained["fcall"]
    assert (sum(chained.values()) - once_a_run) / CHAINS <= 128  # four records, of which one is advanced four times


def test_the_functions_that_a_call_enters_at_the_door_are_printed(harness, tmp_path):
    key, _ = harness.runtime.api_keys.create("acme", ["trigger"], [])
    counts = tmp_path / "counts"
    module = [sys.executable, "-m", "tests.integration.door_functions", "hook", key, str(counts)]
    shown = subprocess.run(module, cwd=ROOT, env={**os.environ, **harness.environ}, check=True, capture_output=True)
    print(shown.stdout.decode())
    single, each_of_a_list = map(float, counts.read_text().split())
    print(f"functions: {single} of a single call, {each_of_a_list} of a call of a list")
    assert 0 < each_of_a_list < single
