"""An API whose broker and store are different databases, and which runs on only one processor."""

from __future__ import annotations

import psutil
import pytest
import redis

from tests.conftest import own_valkey
from tests.integration.api_harness import LANES, environ_for, running_api
from tests.timing import ANSWER_S


@pytest.fixture(scope="module")
def apart():
    with own_valkey() as server:
        url = f"redis://127.0.0.1:{server.port}"
        environ = environ_for(f"{url}/0", RELAY_BROKER_URL=f"{url}/1", RELAY_DEFAULT_WAIT="10", RELAY_API_CPU="0")
        with running_api(environ, threads=32) as harness:
            harness.records = redis.Redis.from_url(f"{url}/0", socket_timeout=ANSWER_S)
            yield harness


def test_ids_go_to_the_broker_and_records_to_the_store(apart):
    ref = apart.trigger(prefer="respond-async").json()["referenceId"]
    assert not apart.records.exists(*LANES)
    assert apart.taken() == [ref]
    assert apart.store.find(ref).state == "queued"


def test_awaited_and_bulk_calls_are_answered(apart):
    with apart.hand_worker(data="there"):
        assert apart.trigger().json()["data"] == "there"
        many = apart.call("POST", "/v1/triggers", json=[{"webhookId": "order"}] * 3).json()
        assert many["accepted"] == 3


@pytest.mark.skipif(not psutil.LINUX, reason="threads are kept on a processor on Linux only")
def test_every_thread_that_serves_is_on_one_processor(apart):
    apart.trigger(prefer="respond-async")
    (server,) = psutil.Process(apart.process.pid).children()
    allowed = {tuple(psutil.Process(thread.id).cpu_affinity()) for thread in server.threads()}
    assert allowed == {(min(psutil.Process().cpu_affinity()),)}
