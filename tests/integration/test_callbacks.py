"""Callbacks with real workers: however a call ends, its callback webhook is called once."""

from __future__ import annotations

import json
import signal
from collections import Counter

import pytest

from relay.domain.invocation import State
from relay.errors import Conflict, DocumentError, RequestRejected
from relay.store.ledger.callbacks import HOLD_MS
from relay.store.ledger.listing import Filter
from relay.store.replays.jobs import ReplayState
from relay.store.replays.runs import Request
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import answer, closed_port, json_answer, receiver
from tests.store_keys import KEYS
from tests.timing import BUSY_S, wait_until

OK = json_answer({"ok": True})
#: Python that a worker runs first: it makes the worker die after calling back, before it has recorded that.
DIES_AFTER_TELLING = """
import os, signal, relay.store.ledger.callbacks
relay.store.ledger.callbacks.Callbacks.delete = lambda self, number, refs: os.kill(os.getpid(), signal.SIGKILL) if refs else None
"""


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_LEASE_MARGIN="2") as harness:
        harness.start_worker()
        yield harness


@pytest.fixture
def told():
    with receiver(OK) as endpoint:
        yield endpoint


def register(harness, told, url, **fields):
    # Register the hook without its callback first, so that an earlier test's callback webhook can be replaced.
    ended = {"id": "ended", "url": told.url, "method": "POST", "hidden": True}
    harness.register(ended, hook(url, callback="ended", **fields))


def nothing_is_to_be_told(harness):
    return harness.runtime.client.zcard(b"relay:{0}:callbacks") == 0


def replay_state(harness, job):
    return harness.runtime.replays.get("acme", job.replay_id).state


def bodies(told, count):
    told.wait_for(count, BUSY_S)
    return [json.loads(request.body) for request in told.requests]


@pytest.mark.parametrize(("status", "error"), [(200, False), (404, True), (500, True)])
def test_an_answer_of_any_kind_is_told_of_once_with_its_status(harness, told, status, error):
    with receiver(answer(status, b"{}")) as endpoint:
        register(harness, told, endpoint.url)
        ref = harness.trigger()
        harness.final(ref)
        assert bodies(told, 1) == [{"referenceId": ref, "status": status, "error": error}]
    callback = harness.final(told.requests[0].header("webhook-id"))
    assert (callback.webhook_id, callback.caller, callback.state) == ("ended", "callback", State.DELIVERED)
    wait_until(lambda: nothing_is_to_be_told(harness), BUSY_S)


def test_an_endpoint_that_is_not_there_is_told_of(harness, told):
    register(harness, told, f"http://127.0.0.1:{closed_port()}/")
    ref = harness.trigger()
    assert bodies(told, 1) == [{"referenceId": ref, "status": 0, "error": True}]


def test_what_is_cancelled_refused_at_the_door_or_removed_while_it_waits_is_told_of(harness, told):
    with receiver(OK) as endpoint:
        register(harness, told, endpoint.url, dataSchema={"type": "object"})
        harness.runtime.policies.pause("acme", "hook")
        cancelled, removed = harness.trigger(data={}), harness.trigger(data={})
        harness.store.cancel(cancelled)
        with pytest.raises(RequestRejected) as refused:
            harness.trigger(data="text")
        assert {each["referenceId"] for each in bodies(told, 2)} == {cancelled, refused.value.reference_id}
        harness.runtime.registry.remove("acme", "hook")
        found = {each["referenceId"]: each for each in bodies(told, 3)}
        assert endpoint.requests == []
    assert harness.final(removed).state is State.REJECTED
    assert found.keys() == {cancelled, removed, refused.value.reference_id}
    assert all((each["status"], each["error"]) == (0, True) for each in found.values())


def test_a_callback_that_fails_is_told_to_nobody(harness):
    with receiver(OK) as endpoint, receiver(answer(500)) as told:
        register(harness, told, endpoint.url)
        harness.trigger()
        told.wait_for(1, BUSY_S)
        callback = harness.final(told.requests[0].header("webhook-id"))
        assert callback.error
        before = list(harness.runtime.listing.every("acme", Filter(caller="callback")))
        harness.final(harness.trigger())
        told.wait_for(2, BUSY_S)
        assert len(list(harness.runtime.listing.every("acme", Filter(caller="callback")))) == len(before) + 1


def test_a_replay_of_a_callbacks_call_is_told_to_nobody_although_its_webhook_has_a_callback_by_now(harness):
    with receiver(OK) as endpoint, receiver(answer(500)) as told, receiver(OK) as other:
        register(harness, told, endpoint.url)
        harness.trigger()
        told.wait_for(1, BUSY_S)
        callback = harness.final(told.requests[0].header("webhook-id"))
        wait_until(lambda: nothing_is_to_be_told(harness), BUSY_S)
        harness.register(hook(endpoint.url))  # nobody names `ended` any more, so that it may have a callback of its own
        ended = {"id": "ended", "url": told.url, "method": "POST", "callback": "other"}
        harness.register({"id": "other", "url": other.url, "method": "POST"}, ended)
        for _ in range(2):  # the second is a replay of the replay
            wanted = Request(reference_ids=[callback.reference_id])
            job = harness.runtime.replays.start("acme", wanted, caller="k9")
            wait_until(lambda job=job: replay_state(harness, job) is ReplayState.DONE, BUSY_S)
            (callback,) = harness.runtime.listing.every("acme", Filter(replay=job.replay_id))
            assert (callback.caller, callback.error) == ("callback", True)
        assert nothing_is_to_be_told(harness)
        assert other.requests == []


def test_many_ends_are_told_of_once_each_with_two_workers(harness, told):
    harness.start_worker(number=2)
    with receiver(OK) as endpoint:
        register(harness, told, endpoint.url)
        refs = harness.trigger_many(300)
        harness.finals(refs)
        counted = Counter(each["referenceId"] for each in bodies(told, 300))
        wait_until(lambda: nothing_is_to_be_told(harness), BUSY_S)
    assert counted == dict.fromkeys(refs, 1)
    assert len(told.requests) == 300


def test_a_worker_that_is_killed_between_telling_and_noting_it_tells_nothing_twice(tmp_path_factory, told):
    with worker_harness(tmp_path_factory, RELAY_LEASE_MARGIN="2") as harness, receiver(OK) as endpoint:
        register(harness, told, endpoint.url)
        dying = harness.start_worker(sabotage=DIES_AFTER_TELLING)
        ref = harness.trigger()
        assert dying.wait(BUSY_S) == -signal.SIGKILL
        assert harness.runtime.client.zcard(b"relay:{0}:callbacks") == 1
        harness.start_worker(number=2)  # it gets what the dead worker held, once that hold has ended
        wait_until(lambda: nothing_is_to_be_told(harness), HOLD_MS / 1000 + BUSY_S)
        (callback,) = harness.runtime.listing.every("acme", Filter(caller="callback"))
        harness.final(callback.reference_id)
        assert [json.loads(request.body)["referenceId"] for request in told.requests] == [ref]


@pytest.mark.parametrize("named", ["ended", "other", "nobody"])
def test_only_what_the_called_revision_names_is_told_whatever_a_writer_of_the_server_puts_into_a_record(
    harness, told, named
):
    with receiver(OK) as endpoint:
        other = {"id": "other", "url": told.url, "method": "POST", "hidden": True}
        harness.register(other)
        register(harness, told, endpoint.url)
        harness.runtime.policies.pause("acme", "hook")
        ref = harness.trigger()
        harness.runtime.client.hset(KEYS.record(ref), "callback", named)
        for ready in harness.runtime.policies.resume("acme", "hook"):
            harness.runtime.publisher.publish_ready(ready)
        harness.final(ref)
        wait_until(lambda: nothing_is_to_be_told(harness), BUSY_S)
        for callback in list(harness.runtime.listing.every("acme", Filter(caller="callback"))):
            harness.final(callback.reference_id)  # by now every callback call is accepted; once ended it was sent
        told_of = [json.loads(request.body)["referenceId"] for request in told.requests]
        assert told_of == ([ref] if named == "ended" else [])


def test_what_goes_round_carries_no_data_or_does_not_exist_is_refused_when_it_is_registered(harness):
    url = "http://127.0.0.1:9/"
    plain = {"id": "plain", "url": url, "method": "POST"}
    harness.register(plain)
    for said, *webhooks in (
        ("is the webhook itself", {**plain, "id": "self", "callback": "self"}),
        ("which is not registered", {**plain, "id": "one", "callback": "nobody"}),
        (
            "has a callback itself",
            {**plain, "id": "one", "callback": "two"},
            {**plain, "id": "two", "callback": "plain"},
        ),
        ("carries no data", {**plain, "id": "one", "callback": "get"}, {**plain, "id": "get", "method": "GET"}),
        (
            "sends bytes",
            {**plain, "id": "one", "callback": "raw"},
            {**plain, "id": "raw", "payload_encoding": "base64"},
        ),
    ):
        with pytest.raises(DocumentError) as error:
            harness.register(*webhooks)
        assert any(fault.pointer.endswith("/callback") and said in fault.message for fault in error.value.faults)


def test_a_callback_cannot_be_changed_or_removed_under_the_webhook_that_names_it(harness):
    url = "http://127.0.0.1:9/"
    told = {"id": "told", "url": url, "method": "POST"}
    harness.register(told, {**told, "id": "one", "callback": "told"})
    with pytest.raises(Conflict, match="`one`"):
        harness.runtime.registry.remove("acme", "told")
    for change in ({"method": "GET"}, {"callback": "plain"}):
        with pytest.raises(DocumentError) as error:
            harness.register({**told, **change}, {"id": "plain", "url": url, "method": "POST"})
        assert "would break `one`" in error.value.faults[0].message
    harness.register({**told, "id": "one"})
    assert harness.runtime.registry.remove("acme", "told")
