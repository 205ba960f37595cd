"""API and workers whose server users have the rights of `deploy/users.acl`, on a server that has no functions at first."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from relay.cli import main
from relay.domain.invocation import State
from relay.queue import LANES
from relay.store.scripting.library import library
from relay.store.scripting.loading import load_functions
from relay.up import access
from tests.forked_processes import ROOT
from tests.integration.api_harness import running_api
from tests.integration.test_flower import running_flower
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, receiver
from tests.timing import START_S, wait_until

OK = json_answer({"done": True})


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness:
        with harness.server.client() as client:
            for user in access.users():
                _, name, *rules = user.rule("secret").split()
                client.execute_command("ACL", "SETUSER", name, *rules)
        yield harness


def address(harness, user):
    return harness.environ["RELAY_REDIS_URL"].replace("://", f"://{user}:secret@")


@contextmanager
def as_user(harness, user, broker_user=None):
    """Start what is started meanwhile as these server users; the harness itself stays the administrator."""
    whole = dict(harness.environ)
    own = {"RELAY_REDIS_URL": address(harness, user), "RELAY_BROKER_URL": address(harness, broker_user or user)}
    harness.environ.update(own)
    try:
        yield
    finally:
        harness.environ.clear()
        harness.environ.update(whole)


def start_worker(harness, group, number=1, *, waits=False):
    with as_user(harness, "worker", access.CONSUMER):
        return harness.start_worker(group, number, waits=waits)


def alive(harness):
    return {worker.name.split("@")[0] for worker in harness.runtime.workers.alive()}


def forget_functions(harness):
    with harness.server.client() as client:
        client.function_flush()


def test_a_worker_without_functions_says_what_it_lacks_and_begins_when_they_are_loaded(harness):
    forget_functions(harness)
    start_worker(harness, "bulk")
    wait_until(lambda: library().name in harness.log.read_text(), START_S)
    assert "`relay functions load`" in harness.log.read_text()
    assert not alive(harness)
    assert load_functions(harness.environ["RELAY_REDIS_URL"]) == 1
    wait_until(lambda: "bulk1" in alive(harness), START_S)
    with receiver(OK) as endpoint:
        harness.register(hook(endpoint.url))
        assert harness.final(harness.trigger()).state is State.DELIVERED


def test_a_worker_that_waits_for_functions_stops_when_it_is_told_to(harness, tmp_path, monkeypatch):
    forget_functions(harness)
    monkeypatch.setattr(harness, "log", tmp_path / "its own.log")  # other workers miss the functions, too
    worker = start_worker(harness, "bulk", 2)
    wait_until(lambda: library().name in harness.log.read_text(), START_S)
    worker.terminate()
    assert worker.wait(20) == 0
    load_functions(harness.environ["RELAY_REDIS_URL"])


def test_an_api_without_functions_is_not_ready_and_names_them(harness):
    with running_api(harness.environ, RELAY_REDIS_URL=address(harness, "api")) as api:
        api.beat("interactive1@here", "interactive")
        forget_functions(harness)

        def readiness():
            return requests.get(f"{api.url}/readyz", timeout=20)

        wait_until(lambda: library().name in readiness().text, 40, every_s=0.5)
        problem = readiness()
        assert (problem.status_code, problem.json()["code"]) == (503, "unavailable")
        assert "`relay functions load`" in problem.json()["detail"]
        assert load_functions(harness.environ["RELAY_REDIS_URL"]) == 1
        api.beat("interactive1@here", "interactive")
        assert readiness().status_code == 200


def refused(harness):
    """Return what the server has refused to its users since it was asked last."""
    with harness.server.client() as client:
        found = {(each["username"], each["reason"], each["object"]) for each in client.acl_log()}
        client.execute_command("ACL", "LOG", "RESET")
    return found


def test_whatever_processes_and_pages_do_none_asks_for_a_right_that_it_lacks(harness):
    refused(harness)
    load_functions(harness.environ["RELAY_REDIS_URL"])
    interactive = start_worker(harness, "interactive", 3, waits=True)
    start_worker(harness, "bulk", 3, waits=True)
    with receiver(OK) as endpoint, running_api(harness.environ, RELAY_REDIS_URL=address(harness, "api")) as api:
        harness.register(hook(endpoint.url), plugin="acme")
        assert api.trigger("hook").json()["data"] == {"done": True}
        with as_user(harness, "flower"), running_flower(harness) as shown:
            wait_until(shown.hears_workers)
            ref = api.trigger("hook", prefer="respond-async").json()["referenceId"]
            harness.final(ref)
            wait_until(lambda: ref in shown.tasks(), 20, every_s=0.3)
            shown.get("/api/workers", refresh=1)
            for path in ("/", "/workers", "/broker", "/tasks", f"/worker/bulk3@{socket.gethostname()}", "/metrics"):
                shown.get(path)
            assert {each["name"] for each in shown.get("/api/queues/length").json()["active_queues"]} >= set(LANES)
        for command in (["webhooks", "pause", "hook"], ["webhooks", "resume", "hook"], ["invocations", "list"]):
            assert run_as_operator(harness, *command, "--plugin", "acme") == 0
    assert probe(harness, "bulk3") == 0
    interactive.terminate()
    assert interactive.wait(30) == 0
    assert refused(harness) == set()


def run_as_operator(harness, *command):
    with as_user(harness, "operator"):
        return CliRunner().invoke(main, command, env={**harness.environ}).exit_code


def probe(harness, worker):
    """Ask a worker whether it answers, as its container does; return the exit status."""
    with as_user(harness, "worker", access.CONSUMER):
        command = ["-A", "workers.lane_app", "inspect", "ping", "--timeout", "5", "--destination"]
        return subprocess.run(
            [Path(sys.executable).with_name("celery"), *command, f"{worker}@{socket.gethostname()}"],
            cwd=ROOT,
            env={**os.environ, **harness.environ},
            capture_output=True,
            timeout=START_S,
            check=False,
        ).returncode
