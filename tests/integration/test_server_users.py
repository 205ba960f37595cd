"""API and workers whose server users have the rights of `deploy/users.acl`, on a server that has no functions at first."""

from __future__ import annotations

import pytest
import requests

from relay.invocation import State
from relay.store.functions import load_functions
from relay.store.library import library
from relay.up import access
from tests.integration.api_harness import running_api
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


def start_worker(harness, group, number=1):
    """Start a worker as its own server user; the harness itself stays the administrator."""
    whole = dict(harness.environ)
    harness.environ["RELAY_REDIS_URL"] = address(harness, "worker")
    try:
        return harness.start_worker(group, number, waits=False)
    finally:
        harness.environ.update(whole)


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


def test_a_worker_that_waits_for_functions_stops_when_it_is_told_to(harness):
    forget_functions(harness)
    said = harness.log.read_text().count(library().name)
    worker = start_worker(harness, "bulk", 2)
    wait_until(lambda: harness.log.read_text().count(library().name) > said, START_S)
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
