"""The JavaScript client, as the relay serves it, in Node and against a running relay."""

import base64
import hashlib

import pytest

from tests.javascript import JavaScript

RESULT = {"referenceId", "status", "data", "error"}


@pytest.fixture(scope="module")
def api(node, shop):
    return JavaScript(node, shop.base_url, shop.key, source=f"{shop.base_url}/webhooks.js")


def test_a_trigger_reaches_the_endpoint_and_resolves_to_its_answer(shop, api):
    answer = api.call("trigger", "echo", {"key": "value"}, {"X-Name": "Ada"}, None)["value"]
    assert set(answer) == RESULT
    assert (answer["status"], answer["error"]) == (200, False)
    (received,) = shop.endpoint.received(answer["referenceId"])
    assert received.body == b'{"key":"value"}'
    assert received.headers["x-name"] == "Ada"


def test_failing_and_unreachable_endpoints_resolve(api):
    done = api.calls([("trigger", (webhook_id,)) for webhook_id in ("missing", "broken", "refused")])
    assert [(each["value"]["status"], each["value"]["error"]) for each in done] == [(404, True), (500, True), (0, True)]
    assert done[2]["value"]["data"]["code"] == "unreachable"


def test_it_rejects_in_the_documented_cases(api):
    unknown, misfit = api.calls([("trigger", ("nobody-knows",)), ("trigger", ("strict", {"other": 1}))])
    assert unknown["error"]["typed"]
    assert (unknown["error"]["code"], unknown["error"]["status"]) == ("webhook_not_registered", 404)
    assert (misfit["error"]["code"], misfit["error"]["status"]) == ("request_rejected", 422)
    assert misfit["error"]["errors"][0]["pointer"].startswith("/data")
    for each in (unknown, misfit):
        again = api.call("wait", each["error"]["referenceId"])
        assert again["error"]["code"] == each["error"]["code"]


def test_a_key_that_is_not_known_rejects(node, shop):
    api = JavaScript(node, shop.base_url, "whk_unknown_key")
    assert api.call("trigger", "echo")["error"]["code"] == "unauthenticated"


def test_bytes_arrive_byte_for_byte(shop, api):
    picture = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 300 + b"\xff\xd9"
    answer = api.call("trigger", "send-jpeg", {"$bytes": base64.b64encode(picture).decode()})["value"]
    (received,) = shop.endpoint.received(answer["referenceId"])
    assert received.sha256 == hashlib.sha256(picture).hexdigest()
    assert received.headers["content-type"] == "image/jpeg"


def test_a_wait_that_ends_early_can_be_taken_up_again(shop, api):
    error = api.call("trigger", "slow", {}, timeout=1000)["error"]
    assert error["code"] == "wait_ended"
    answer = api.call("wait", error["referenceId"])["value"]
    assert (answer["status"], answer["referenceId"]) == (200, error["referenceId"])
    assert len(shop.endpoint.received(error["referenceId"])) == 1


def test_an_asynchronous_trigger_is_followed_by_its_reference_id(api):
    accepted = api.call("triggerAsync", "get-page", None, None, {"pageNum": 3})["value"]
    assert set(accepted) == {"referenceId", "state"}
    assert api.call("wait", accepted["referenceId"])["value"]["data"]["query"] == {"pageNum": "3"}
    assert api.call("get", accepted["referenceId"])["value"]["state"] == "delivered"


def test_many_triggers_are_accepted_in_order(api):
    items = [{"webhookId": "echo" if number % 2 else "unknown", "data": {"n": number}} for number in range(50)]
    results = api.call("triggerMany", items)["value"]
    assert [("referenceId" in result) for result in results] == [number % 2 == 1 for number in range(50)]
    bodies = api.calls([("wait", (result["referenceId"],)) for result in results[1::2]])
    assert [each["value"]["data"]["body"] for each in bodies] == [f'{{"n":{number}}}' for number in range(1, 50, 2)]
