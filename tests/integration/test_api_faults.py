import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from tests.conftest import start_valkey
from tests.integration.api_harness import environ_for, running_api
from tests.integration.test_api_triggers import problem


def kill_subscriptions(client):
    """Ends every subscription, as a failing network would; how many there were."""
    return client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


def test_a_lost_subscription_loses_no_answer(api):
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(api.trigger) for _ in range(4)]
        refs = set()
        while len(refs) < 4:
            refs.update(api.taken())
        # The end comes in the same moment as the loss: its notice reaches nobody.
        assert kill_subscriptions(api.queue) >= 1
        api.settle(list(refs), data="seen")
        began_s = time.monotonic()
        answers = [each.result() for each in waiting]
    assert [answer.json()["data"] for answer in answers] == ["seen"] * 4
    assert time.monotonic() - began_s < 4


def test_answers_come_as_notices_again_after_a_lost_subscription(api):
    kill_subscriptions(api.queue)
    with api.hand_worker(data="again"):
        assert [api.trigger().json()["data"] for _ in range(5)] == ["again"] * 5


@pytest.fixture
def fragile():
    """An API whose server the test may end and start again."""
    directory = Path(tempfile.mkdtemp(prefix="rly"))
    server = start_valkey(directory)
    redis.Redis(port=server.port).config_set("appendonly", "yes")
    with running_api(environ_for(f"redis://127.0.0.1:{server.port}/0"), threads=32) as harness:
        harness.server, harness.directory = server, directory
        yield harness
    harness.server.terminate()
    shutil.rmtree(directory, ignore_errors=True)


def test_without_redis_the_api_says_so_at_once_and_comes_back_by_itself(fragile):
    assert fragile.trigger(prefer="respond-async").status_code == 202
    port = fragile.server.port
    fragile.server.terminate()
    began_s = time.monotonic()
    answer = fragile.trigger()
    assert time.monotonic() - began_s < 3
    problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    problem(fragile.call("POST", "/v1/triggers", json=[{"webhookId": "order"}]), 503, "unavailable")
    problem(fragile.call("GET", "/readyz"), 503, "unavailable")
    assert fragile.call("GET", "/healthz").status_code == 200
    fragile.server = start_valkey(fragile.directory, port=port)
    fragile.register("acme", '{id: "order", url: "https://hook.example.com/again", method: "POST"}')
    fragile.key, _ = fragile.runtime.api_keys.create("acme", ["trigger"])
    with fragile.hand_worker(data="back"):
        assert fragile.trigger().json()["data"] == "back"


def test_a_wait_during_which_redis_goes_away_ends_in_the_asked_time_with_the_reference_id(fragile):
    with ThreadPoolExecutor() as pool:
        began_s = time.monotonic()
        waiting = pool.submit(fragile.trigger, prefer="wait=2")
        (ref,) = fragile.taken()
        fragile.server.terminate()
        answer = waiting.result()
    assert (answer.status_code, answer.json()["referenceId"]) == (202, ref)
    assert time.monotonic() - began_s < 5


def test_a_stop_answers_whoever_waits_and_does_not_wait_for_them(fragile):
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(fragile.trigger, prefer="wait=30")
        (ref,) = fragile.taken()
        began_s = time.monotonic()
        fragile.process.terminate()
        answer = waiting.result()
        assert (answer.status_code, answer.json()["referenceId"]) == (202, ref)
        assert fragile.process.wait(10) == 0
    assert time.monotonic() - began_s < 8
