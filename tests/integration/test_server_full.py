"""A server that is full refuses new work loudly, and loses none that it has taken."""

from __future__ import annotations

import pytest

from relay.errors import Unavailable
from relay.invocation import State
from tests.integration.worker_house import hook, until, worker_house
from tests.receivers import json_answer, receiver, slow

OK = json_answer({"ok": True})


@pytest.fixture
def house(tmp_path_factory):
    with worker_house(tmp_path_factory) as house:
        yield house


def test_a_full_server_refuses_triggers_but_settles_wakes_and_sweeps(house):
    with receiver(slow(0.5, OK)) as endpoint:
        house.register(hook(endpoint.url, concurrency=2))
        lost = house.trigger()
        house.runtime.client.delete("bulk")  # its message is lost
        house.start_worker()
        refs = house.trigger_many(6)
        until(lambda: len(endpoint.requests) >= 2, 10)
        house.runtime.client.config_set("maxmemory", "1mb")  # less than is in use
        with pytest.raises(Unavailable):
            house.trigger()
        records = house.finals([lost, *refs], within_s=30)
        assert {record.state for record in records} == {State.DELIVERED}
        assert len(endpoint.requests) == 7
        house.runtime.client.config_set("maxmemory", "0")
        assert house.final(house.trigger()).state is State.DELIVERED
