"""A subject is forgotten by real workers, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from relay.accept.intake import TriggerRequest
from relay.domain.reference_id import new_reference_id
from relay.store.ledger.listing import Filter
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, receiver
from tests.timing import BUSY_S, START_S, wait_until

ANN, BOB = "patient Ann/1906 \u00e9", "patient Bob"
#: Python that a worker runs first: it is killed in the middle of a job, when a piece is done.
DIES_IN_THE_MIDDLE = """
import os, signal, relay.store.subjects.forgetting as forgetting
forgetting.PIECE = 3
go_on = forgetting.Forgetting.go_on
def once(self, plugin, subject, limit=3):
    go_on(self, plugin, subject, 3)
    os.kill(os.getpid(), signal.SIGKILL)
forgetting.Forgetting.go_on = once
"""
#: A command that is killed in the middle of a job, when a piece is done.
KILLED_COMMAND = (
    DIES_IN_THE_MIDDLE
    + """
from relay.cli import main
main()
"""
)


@pytest.fixture
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness:
        yield harness


def trigger(harness, subject, webhook="hook", count=1, **more):
    value = {"data": {"n": 1}, "subject": subject, **more}
    calls = [TriggerRequest("acme", webhook, value, new_reference_id("acme"), "k1") for _ in range(count)]
    return [each.reference_id for each in harness.runtime.dispatcher.trigger_many(calls)]


def is_forgotten(harness, ref):
    store = harness.store
    return (
        store.find(ref).forgotten_at_ms is not None and store.payload_of(ref) is None and store.result_of(ref) is None
    )


def command(harness, program, *arguments):
    """Run a command in a process of its own; return its exit status and output."""
    line = [sys.executable, "-c", program, "--data-dir", str(harness.log.parent), *arguments]
    ran = subprocess.run(
        line, env={**os.environ, **harness.environ}, capture_output=True, text=True, timeout=START_S, check=False
    )
    return ran.returncode, ran.stdout


def test_a_job_whose_command_and_worker_are_killed_is_ended_by_the_next_worker(harness):
    with receiver(json_answer({"ok": True})) as endpoint:
        harness.register(hook(endpoint.url))
        ours, theirs = trigger(harness, ANN, count=10), trigger(harness, BOB, count=2)
        worker = harness.start_worker()
        harness.finals([*ours, *theirs])
        worker.terminate()
        worker.wait(BUSY_S)
        forget = ("invocations", "forget", "--subject", ANN, "--plugin", "acme")
        assert command(harness, KILLED_COMMAND, *forget) == (-9, "")
        assert sum(is_forgotten(harness, ref) for ref in ours) == 3
        killed = harness.start_worker(sabotage=DIES_IN_THE_MIDDLE, waits=False)
        killed.wait(BUSY_S)
        assert sum(is_forgotten(harness, ref) for ref in ours) == 6
        harness.start_worker()
        wait_until(lambda: all(is_forgotten(harness, ref) for ref in ours), BUSY_S)
    assert not any(is_forgotten(harness, ref) for ref in theirs)
    ended = [each for each in audited(harness) if each["outcome"] == "forgotten"]
    assert [each["count"] for each in ended] == [10]
    assert ANN not in harness.log.read_text(errors="replace")


def audited(harness):
    _, lines = command(harness, "from relay.cli import main; main()", "audit", "export")
    entries = [json.loads(line) for line in lines.splitlines()]
    assert ANN not in lines
    return [each for each in entries if each.get("act") == "forget_subject"]


def test_workers_forget_a_subject_s_chains_and_what_ends_only_after_the_command(harness):
    with receiver(json_answer({"ok": True})) as endpoint:
        chain = {"id": "chain", "steps": [{"webhook": "hook"}, {"webhook": "hook"}]}
        harness.register(hook(endpoint.url), {**hook(endpoint.url), "id": "held"}, chain)
        harness.runtime.policies.pause("acme", "held")
        harness.start_worker()
        (chained,), held = trigger(harness, ANN, "chain"), trigger(harness, ANN, "held", count=2)
        harness.final(chained)
        forget = ("invocations", "forget", "--subject", ANN, "--plugin", "acme", "--output", "json")
        status, said = command(harness, "from relay.cli import main; main()", *forget)
        assert status == 0
        assert json.loads(said) == {"plugin": "acme", "forgotten": 3, "unfinished": 2}  # the chain and its two steps
        (meanwhile,) = trigger(harness, ANN)
        wait_until(lambda: is_forgotten(harness, meanwhile), BUSY_S)
        assert not any(is_forgotten(harness, ref) for ref in held)
        for ready in harness.runtime.policies.resume("acme", "held"):
            harness.runtime.publisher.publish_ready(ready)
        refs = [chained, *harness.record(chained).steps, *held, meanwhile]
        wait_until(lambda: all(is_forgotten(harness, ref) for ref in refs), BUSY_S)
        wait_until(lambda: audited(harness)[-1]["outcome"] == "forgotten", BUSY_S)
        assert audited(harness)[-1]["count"] == len(refs) == 6
    found = harness.runtime.listing.every("acme", Filter(subject=harness.runtime.subject_hashes.known("acme", ANN)))
    assert {row.reference_id for row in found} == set(refs)
