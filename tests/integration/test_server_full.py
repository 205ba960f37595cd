"""A full server refuses new work with an error, and loses none of the work that it has accepted."""

from __future__ import annotations

import pytest

from relay.domain.invocation import State
from relay.errors import Unavailable
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, receiver, slow
from tests.timing import wait_until

OK = json_answer({"ok": True})


@pytest.fixture
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness:
        yield harness


def test_a_full_server_refuses_triggers_but_settles_wakes_and_sweeps(harness):
    with receiver(slow(0.5, OK)) as endpoint:
        harness.register(hook(endpoint.url, concurrency=2))
        lost = harness.trigger()
        harness.runtime.client.delete("bulk")  # its message is lost
        harness.start_worker()
        refs = harness.trigger_many(6)
        wait_until(lambda: len(endpoint.requests) >= 2, 10)
        harness.runtime.client.config_set("maxmemory", "1mb")  # less than is in use
        with pytest.raises(Unavailable):
            harness.trigger()
        records = harness.finals([lost, *refs], within_s=30)
        assert {record.state for record in records} == {State.DELIVERED}
        assert len(endpoint.requests) == 7
        harness.runtime.client.config_set("maxmemory", "0")
        assert harness.final(harness.trigger()).state is State.DELIVERED
