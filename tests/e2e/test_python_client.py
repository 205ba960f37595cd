"""The Python client against a running relay."""

import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from relay import errors
from relay.client import Relay
from tests.e2e.conftest import SECRET
from tests.processes import command_line, kill_each

HUGE = 10**40 + 7


@pytest.fixture
def relay(shop):
    with Relay(shop.base_url, shop.key) as client:
        yield client


def test_a_trigger_reaches_the_endpoint_and_returns_its_answer(shop, relay):
    answer = relay.webhooks.trigger("echo", {"key": HUGE}, {"X-Name": "Ada"}, {"page": 2})

    assert list(answer) == ["referenceId", "status", "data", "error"]
    assert (answer["status"], answer["error"]) == (200, False)
    (received,) = shop.endpoint.received(answer["referenceId"])
    assert (received.method, received.query) == ("POST", {"page": "2"})
    assert json.loads(received.body) == {"key": HUGE}
    assert (received.headers["x-name"], received.headers["authorization"]) == ("Ada", SECRET)


@pytest.mark.parametrize(("webhook_id", "status"), [("missing", 404), ("broken", 500)])
def test_an_endpoint_that_answers_with_failure_is_an_answer(relay, webhook_id, status):
    answer = relay.webhooks.trigger(webhook_id)
    assert (answer["status"], answer["error"], answer["data"]) == (status, True, {"said": status})


def test_an_endpoint_that_cannot_be_contacted_is_an_answer(relay):
    answer = relay.webhooks.trigger("refused", {})
    assert (answer["status"], answer["error"], answer["data"]["code"]) == (0, True, "unreachable")


def test_an_unknown_webhook_raises_and_leaves_a_record(relay):
    with pytest.raises(errors.WebhookNotRegistered) as raised:
        relay.webhooks.trigger("nobody-knows", {})
    assert relay.webhooks.get(raised.value.reference_id)["state"] == "rejected"
    with pytest.raises(errors.WebhookNotRegistered):
        relay.webhooks.wait(raised.value.reference_id, 5)


@pytest.mark.parametrize(
    ("data", "headers", "query_params", "pointer"),
    [
        ({"other": 1}, None, None, "/data"),
        ({"name": "x"}, {"X-Unknown": "v"}, None, "/headers"),
        ({"name": "x"}, None, {"unknown": "v"}, "/queryParams"),
        (5, None, None, "/data"),
    ],
)
def test_what_does_not_fit_the_registration_raises_and_names_the_field(relay, data, headers, query_params, pointer):
    with pytest.raises(errors.RequestRejected) as raised:
        relay.webhooks.trigger("strict", data, headers, query_params)
    assert raised.value.faults
    assert all(fault.pointer.startswith(pointer) for fault in raised.value.faults)
    with pytest.raises(errors.RequestRejected):
        relay.webhooks.wait(raised.value.reference_id, 5)


def test_bytes_arrive_byte_for_byte(shop, relay):
    picture = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 64 + b"\xff\xd9"
    answer = relay.webhooks.trigger("send-jpeg", picture)
    (received,) = shop.endpoint.received(answer["referenceId"])
    assert received.sha256 == hashlib.sha256(picture).hexdigest() == answer["data"]["sha256"]
    assert received.headers["content-type"] == "image/jpeg"


def test_a_wait_that_ends_early_can_be_taken_up_again(shop, relay):
    with pytest.raises(TimeoutError) as raised:
        relay.webhooks.trigger("slow", {}, timeout_s=1)
    reference_id = raised.value.reference_id
    began = time.monotonic()
    assert relay.webhooks.wait(reference_id, 60)["status"] == 200
    assert time.monotonic() - began < 50
    assert len(shop.endpoint.received(reference_id)) == 1


def test_an_asynchronous_trigger_is_followed_by_its_reference_id(relay):
    accepted = relay.webhooks.trigger_async("get-page", None, None, {"pageNum": 3})
    assert set(accepted) == {"referenceId", "state"}
    answer = relay.webhooks.wait(accepted["referenceId"], 20)
    assert answer["referenceId"] == accepted["referenceId"]
    assert answer["data"]["query"] == {"pageNum": "3"}
    record = relay.webhooks.get(accepted["referenceId"])
    assert (record["state"], record["result"]["status"], record["webhookId"]) == ("delivered", 200, "get-page")


def test_the_same_idempotency_key_is_one_invocation(shop, relay):
    first = relay.webhooks.trigger("echo", {"order": 1}, idempotency_key="order-1")
    again = relay.webhooks.trigger("echo", {"order": 1}, idempotency_key="order-1")
    assert again == first
    assert len(shop.endpoint.received(first["referenceId"])) == 1
    with pytest.raises(errors.IdempotencyKeyReused):
        relay.webhooks.trigger("echo", {"order": 2}, idempotency_key="order-1")


def test_many_triggers_are_each_called_once(shop, relay):
    items = [{"webhookId": "echo" if number % 100 else "unknown", "data": {"n": number}} for number in range(1200)]
    results = relay.webhooks.trigger_many(items)
    assert [("problem" in result) for result in results] == [number % 100 == 0 for number in range(1200)]
    assert results[0]["problem"]["code"] == "webhook_not_registered"
    references = [result["referenceId"] for result in results[1:60]]
    for number, reference_id in enumerate(references, start=1):
        assert relay.webhooks.wait(reference_id, 60)["status"] == 200, relay.webhooks.get(reference_id)
        (received,) = shop.endpoint.received(reference_id)
        assert json.loads(received.body) == {"n": number}


def test_one_client_serves_many_threads(shop, relay):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: relay.webhooks.trigger("echo", {"n": n}), range(64)))
    assert [json.loads(answer["data"]["body"]) for answer in answers] == [{"n": n} for n in range(64)]


def test_an_api_process_that_dies_under_a_waiting_caller_costs_nothing(shop):
    killer = threading.Timer(1, _kill_api, (shop.relay.pid,))
    killer.start()
    with Relay(shop.base_url, shop.key, tries=30) as relay:  # a busy machine may take long to restart the API
        answer = relay.webhooks.trigger("slow", {"n": 1})
    killer.join()
    assert (answer["status"], answer["error"]) == (200, False)
    assert len(shop.endpoint.received(answer["referenceId"])) == 1


def test_a_key_that_is_not_known_raises(shop):
    with Relay(shop.base_url, "whk_unknown_key") as relay, pytest.raises(errors.Unauthenticated):
        relay.webhooks.trigger("echo")


def test_a_trigger_larger_than_the_relay_takes_raises(relay):
    with pytest.raises(errors.TooLarge):
        relay.webhooks.trigger("echo", "x" * (9 * 1024 * 1024))


def _kill_api(pid: int) -> None:
    """Kill -9 of the API's processes under ``relay up``, which starts them again."""
    children = psutil.Process(pid).children(recursive=True)
    found = [child for child in children if "granian" in command_line(child)]
    assert found
    kill_each(found)
