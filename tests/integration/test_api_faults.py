import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from relay.store.scripting.library import library
from tests.conftest import own_valkey, start_valkey
from tests.integration.api_harness import environ_for, running_api
from tests.integration.test_api_triggers import problem
from tests.timing import BUSY_S


def kill_subscriptions(client):
    """End every subscription, as a failing network would; return how many there were."""
    return client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


@contextmanager
def at_a_loss(store):
    """Settle calls unheard: every subscription is ended in the same transaction. Yields how many there were."""
    lost, run = [], store._scripts.run

    def run_unheard(name, args, root):
        if name != "settle":
            return run(name, args, root)
        pipeline = store._client.pipeline(transaction=True)
        pipeline.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        pipeline.fcall(library().functions[name].name, 1, root, *args)
        killed, reply = pipeline.execute()
        lost.append(killed)
        return reply

    store._scripts.run = run_unheard
    try:
        yield lost
    finally:
        store._scripts.run = run


def test_a_lost_subscription_loses_no_answer(api):
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(api.trigger, prefer="wait=40", timeout=60) for _ in range(4)]
        refs = set()
        while len(refs) < 4:
            refs.update(api.taken())
        # The call ends in the same moment as the subscription is lost, so its notice reaches no process.
        with at_a_loss(api.store) as lost:
            api.settle(list(refs), data="seen")
        assert lost == [2]  # notices, and what others have read of chains
        began_s = time.monotonic()
        answers = [each.result() for each in waiting]
    assert [answer.json()["data"] for answer in answers] == ["seen"] * 4
    assert time.monotonic() - began_s < 30  # long before the last look, at the end of the wait


def test_answers_come_as_notices_again_after_a_lost_subscription(api):
    kill_subscriptions(api.queue)
    with api.hand_worker(data="again"):
        assert [api.trigger().json()["data"] for _ in range(5)] == ["again"] * 5


@pytest.fixture
def fragile():
    """An API whose server the test may stop and restart."""
    with (
        own_valkey(appendonly="yes") as server,
        running_api(environ_for(f"redis://127.0.0.1:{server.port}/0"), threads=32) as harness,
    ):
        harness.server = server
        yield harness
        harness.server.terminate()


def test_without_redis_the_api_says_so_at_once_and_comes_back_by_itself(fragile):
    ref = fragile.trigger(prefer="respond-async").json()["referenceId"]
    port = fragile.server.port
    fragile.server.terminate()
    began_s = time.monotonic()
    answer = fragile.trigger(prefer="wait=40", timeout=60)
    assert time.monotonic() - began_s < 30
    problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    problem(fragile.call("POST", "/v1/triggers", json=[{"webhookId": "order"}]), 503, "unavailable")
    problem(fragile.call("GET", f"/v1/invocations/{ref}"), 503, "unavailable")
    document = problem(fragile.call("GET", "/readyz"), 503, "unavailable")
    assert document["detail"] == "Redis cannot be reached."
    assert fragile.call("GET", "/healthz").status_code == 200
    fragile.server = start_valkey(fragile.server.data_dir, port=port)
    fragile.register("acme", '{id: "order", url: "https://hook.example.com/again", method: "POST"}')
    fragile.key, _ = fragile.runtime.api_keys.create("acme", ["trigger"])
    with fragile.hand_worker(data="back"):
        answer = fragile.trigger().json()
        assert answer.get("data") == "back", answer


def test_a_wait_during_which_redis_goes_away_ends_in_the_asked_time_with_the_reference_id(fragile):
    with ThreadPoolExecutor() as pool:
        began_s = time.monotonic()
        waiting = pool.submit(fragile.trigger, prefer="wait=2")
        (ref,) = fragile.taken()
        # The message may arrive before the API knows that its trigger was accepted; after another trigger it knows.
        assert fragile.trigger(prefer="respond-async").status_code == 202
        fragile.server.terminate()
        answer = waiting.result()
    assert (answer.status_code, answer.json()["referenceId"]) == (202, ref)
    assert 1.9 < time.monotonic() - began_s < 2 + BUSY_S


def test_a_stop_answers_whoever_waits_and_does_not_wait_for_them(fragile):
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(fragile.trigger, prefer="wait=60", timeout=90)
        (ref,) = fragile.taken()
        assert fragile.trigger(prefer="respond-async").status_code == 202
        began_s = time.monotonic()
        fragile.process.terminate()
        answer = waiting.result()
        assert (answer.status_code, answer.json()["referenceId"]) == (202, ref)
        assert fragile.process.wait(40) == 0
    assert time.monotonic() - began_s < 40
