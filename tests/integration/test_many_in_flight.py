"""A worker with descriptors too high for select(), like one with a thousand calls in flight."""

from __future__ import annotations

import pytest

from relay.domain.invocation import State
from relay.process.descriptors import allow_calls
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, receiver
from tests.timing import wait_until

FIRST_FREE = 1_100


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    """A worker that starts with every low descriptor in use."""
    allow_calls(FIRST_FREE)
    with worker_harness(tmp_path_factory, RELAY_MAX_IN_FLIGHT="2000") as harness, receiver(json_answer({})) as endpoint:
        harness.start_worker(sabotage=f"import fcntl; [fcntl.fcntl(0, fcntl.F_DUPFD, 3) for _ in range({FIRST_FREE})]")
        harness.register(hook(endpoint.url))
        yield harness


def broker_connections(client):
    """Return the connections that wait for messages."""
    return [each["id"] for each in client.client_list() if each["cmd"] == "brpop"]


def test_it_takes_messages_and_calls(harness):
    assert {record.state for record in harness.finals(harness.trigger_many(100))} == {State.DELIVERED}


def test_it_takes_them_again_after_its_broker_connections_were_cut(harness):
    client = harness.runtime.client
    wait_until(lambda: broker_connections(client), 20)
    cut = broker_connections(client)
    for number in cut:
        client.client_kill_filter(_id=number)
    wait_until(lambda: set(broker_connections(client)) - set(cut), 30)
    assert {record.state for record in harness.finals(harness.trigger_many(100))} == {State.DELIVERED}
    assert harness.workers[0].poll() is None
