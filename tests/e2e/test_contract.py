"""Checks a running relay against the contract of the API: every code and header, whatever is sent."""

from __future__ import annotations

import json
import re
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.api_harness import own_api
from tests.integration.test_api_triggers import problem
from tests.receivers import answer, echo, json_answer, slow
from tests.unit.test_rows import FIELDS

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
REFERENCE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
OLD = "01000000-0000-7000-8000-000000000000"  # a UUIDv7 of 2004
ATTEMPT = ["number", "startedAt", "durationMs", "status", "outcome", "sent"]
TRIGGER = "/v1/webhooks/ok/trigger"
JSON_TYPE = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def plugin(harness):
    site = harness.site
    return harness.plugin(
        "contract",
        [
            {"id": "ok", "url": site.page("/c/ok", json_answer({"ok": True})), "method": "POST", "queryParams": ["q"]},
            {"id": "echo", "url": site.page("/c/echo", echo), "method": "POST"},
            {"id": "slow", "url": site.page("/c/slow", slow(1.5, json_answer("late"))), "method": "POST"},
            {"id": "gone", "url": site.page("/c/gone", answer(410, b"gone")), "method": "DELETE"},
        ],
    )


def post(path, body=b"{}", **headers):
    return "POST", path, body, {**JSON_TYPE, **{name.replace("_", "-"): value for name, value in headers.items()}}


PROBLEMS = [
    # the body
    (post("/v1/triggers", b""), 400, "malformed_json"),
    (post(TRIGGER, b"{"), 400, "malformed_json"),
    (post(TRIGGER, b"\xef\xbb\xbf{}"), 400, "malformed_json"),
    (post(TRIGGER, b'{"data":NaN}'), 400, "malformed_json"),
    (post(TRIGGER, b'{"data":[1e400]}'), 400, "malformed_json"),
    (post(TRIGGER, b'{"data":{"a":1,"a":2}}'), 400, "malformed_json"),
    (post(TRIGGER, b'{"data":"\xff"}'), 400, "malformed_json"),
    (post(TRIGGER, b'{"data":' + b"9" * 65 + b"}"), 400, "malformed_json"),
    (post(TRIGGER, b"[" * 40 + b"]" * 40), 400, "malformed_json"),
    (post("/v1/triggers", b"{"), 400, "malformed_json"),
    (post("/v1/triggers", b"{}"), 400, "malformed_json"),
    (post("/v1/triggers", b'"x"'), 400, "malformed_json"),
    (post(TRIGGER, Content_Type="text/plain"), 415, "unsupported_media_type"),
    (post(TRIGGER, Content_Type="application/x-ndjson"), 415, "unsupported_media_type"),
    (post(TRIGGER, Content_Type=""), 415, "unsupported_media_type"),
    (post(TRIGGER, Content_Encoding="gzip"), 415, "unsupported_media_type"),
    (post("/v1/triggers", Content_Type="text/csv"), 415, "unsupported_media_type"),
    (post(TRIGGER, Idempotency_Key=""), 400, "bad_parameter"),
    (post(TRIGGER, Idempotency_Key="x" * 256), 400, "bad_parameter"),
    (post(TRIGGER, Idempotency_Key="two words"), 400, "bad_parameter"),
    # the trigger
    (post(TRIGGER, b"[]"), 422, "request_rejected"),
    (post(TRIGGER, b"null"), 422, "request_rejected"),
    (post(TRIGGER, b'{"data":1}'), 422, "request_rejected"),
    (post(TRIGGER, b'{"body":{}}'), 422, "request_rejected"),
    (post(TRIGGER, b'{"queryParams":{"x":1}}'), 422, "request_rejected"),
    (post(TRIGGER, b'{"queryParams":{"q":null}}'), 422, "request_rejected"),
    (post(TRIGGER, b'{"headers":{"Authorization":"x"}}'), 422, "request_rejected"),
    (post("/v1/webhooks/gone/trigger", b'{"data":{"a":1}}'), 422, "request_rejected"),
    # the webhook
    (post("/v1/webhooks/nothing/trigger"), 404, "webhook_not_registered"),
    (post("/v1/webhooks/OK/trigger"), 404, "webhook_not_registered"),
    (post("/v1/webhooks/%C3%B6k/trigger"), 404, "webhook_not_registered"),
    (post("/v1/webhooks/" + "x" * 65 + "/trigger"), 404, "webhook_not_registered"),
    # the route
    (post("/v1/webhooks/ok"), 405, "method_not_allowed"),
    (post("/v1/webhooks//trigger"), 404, "webhook_not_registered"),
    (post("/v1/nothing"), 404, "not_found"),
    (("GET", "/nothing", None, {}), 404, "not_found"),
    (("GET", "/v1/invocations/x", None, {}), 404, "not_found"),
    (("GET", "/v1/invocations/" + str(uuid.UUID(int=7)), None, {}), 404, "not_found"),
    (("GET", "/v1/invocations/" + OLD, None, {}), 410, "expired"),
    (("GET", "/v1/invocations/" + OLD, None, {"Prefer": "wait=1"}), 410, "expired"),
    *(((method, TRIGGER, None, {}), 405, "method_not_allowed") for method in ("GET", "PUT", "PATCH", "DELETE", "BREW")),
    *(((method, "/v1/triggers", None, {}), 405, "method_not_allowed") for method in ("GET", "DELETE")),
    (("POST", "/v1/invocations/" + OLD, b"{}", JSON_TYPE), 405, "method_not_allowed"),
    (("POST", "/healthz", b"{}", JSON_TYPE), 405, "method_not_allowed"),
    (("TRACE", "/readyz", None, {}), 405, "method_not_allowed"),
    # the key
    (post(TRIGGER, Authorization="Bearer whk_x_y"), 401, "unauthenticated"),
    (post(TRIGGER, Authorization=""), 401, "unauthenticated"),
    (post(TRIGGER, Authorization="Basic d2hrOng="), 401, "unauthenticated"),
    (post(TRIGGER, Origin="https://elsewhere.example.com"), 403, "forbidden"),
    (post(TRIGGER, Origin="null"), 403, "forbidden"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "code"), PROBLEMS)
def test_what_is_wrong_is_a_problem_with_its_code(plugin, request_, status, code):
    method, path, body, headers = request_
    document = problem(plugin.call(method, path, data=body, headers=headers), status, code)
    recorded = code in {"request_rejected", "webhook_not_registered"}
    assert ("referenceId" in document) == recorded
    assert ("errors" in document) == (code == "request_rejected")
    if recorded:
        record = plugin.record(document["referenceId"])
        assert (record["state"], record["result"], record["attempts"]) == ("rejected", None, [])
        assert RFC3339.fullmatch(record["finishedAt"])


def test_a_key_needs_the_scope_of_what_it_does(harness, plugin):
    operator = harness.relay.create_key(plugin.name, ("operate",))
    problem(plugin.call("POST", TRIGGER, json={}, key=operator), 403, "forbidden")
    reference_id = plugin.trigger("ok").json()["referenceId"]
    for key in (operator, plugin.key):
        assert plugin.call("GET", f"/v1/invocations/{reference_id}", key=key).status_code == 200


def test_a_head_is_a_get_without_a_body(plugin):
    reference_id = plugin.trigger("ok").json()["referenceId"]
    for path in ("/healthz", "/readyz", "/webhooks.js", f"/v1/invocations/{reference_id}"):
        answered = plugin.call("HEAD", path)
        assert (answered.status_code, answered.content) == (200, b""), path


# The preference, for a webhook that answers at once or after 1.5 s; the answer; and the preference reported as applied.
PREFERENCES = [
    ("ok", None, 200, None),
    ("ok", "wait=5", 200, "wait=5"),
    ("ok", "wait=0", 202, None),
    ("ok", "respond-async", 202, "respond-async"),
    ("ok", "respond-async, wait=5", 200, "wait=5"),
    ("ok", "wait=5, respond-async", 200, "wait=5"),
    ("ok", "RESPOND-ASYNC", 202, "respond-async"),
    ("ok", 'wait="5"; x=y, handling=lenient', 200, "wait=5"),
    ("ok", "wait=100000", 200, "wait=60"),
    ("ok", "wait=soon", 200, None),
    ("ok", "wait=-1", 200, None),
    ("ok", "return=minimal", 200, None),
    ("ok", ",,;=", 200, None),
    ("slow", "wait=1", 202, "wait=1"),
    ("slow", "respond-async, wait=1", 202, "respond-async, wait=1"),
    ("slow", "wait=10", 200, "wait=10"),
]


@pytest.mark.parametrize(("webhook_id", "prefer", "status", "applied"), PREFERENCES)
def test_a_preference_is_followed_and_what_was_done_is_said(plugin, webhook_id, prefer, status, applied):
    answered = plugin.trigger(webhook_id, prefer=prefer)
    assert answered.status_code == status
    told = answered.headers.get("Preference-Applied")
    if prefer != "wait=0":
        assert told == applied
    body = answered.json()
    assert REFERENCE.fullmatch(body["referenceId"])
    assert answered.headers["Content-Type"] == "application/json"
    if status == 200:
        assert list(body) == ["referenceId", "status", "data", "error"]
        assert "Location" not in answered.headers
        return
    assert list(body) == ["referenceId", "state"]
    assert body["state"] in {"queued", "sending"}
    assert answered.headers["Location"] == f"/v1/invocations/{body['referenceId']}"
    assert int(answered.headers["Retry-After"]) > 0
    assert plugin.record(body["referenceId"], wait_s=10)["state"] == "delivered"


def test_a_record_has_exactly_the_documented_members(plugin):
    reference_id = plugin.trigger("echo", {"data": {"n": 2**70}}).json()["referenceId"]
    record = plugin.record(reference_id)
    assert list(record) == FIELDS
    (attempt,) = record["attempts"]
    assert list(attempt) == ATTEMPT
    assert list(record["result"]) == ["status", "data", "error"]
    assert all(RFC3339.fullmatch(record[name]) for name in ("createdAt", "finishedAt", "expiresAt"))
    assert (record["webhookId"], record["revision"], record["state"]) == ("echo", 1, "delivered")
    assert json.loads(record["result"]["data"]["data"]) == {"n": 2**70}
    assert record["requestBytes"] > 20
    assert record["responseBytes"] > 100

    theirs = plugin.call("GET", f"/v1/invocations/{reference_id}").json()
    assert set(FIELDS) - set(theirs) == {"caller", "chain"}
    assert theirs["attempts"][0]["outcome"] is None


def test_a_hundred_duplicates_at_once_are_one_invocation_and_one_request(harness, plugin):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    value = {"data": {"order": 1, "lines": [1, 2]}}

    def send(number):
        prefer = (None, "respond-async", "wait=10")[number % 3]
        return plugin.trigger("echo", value, prefer=prefer, headers=key)

    with ThreadPoolExecutor(32) as callers:
        answers = list(callers.map(send, range(100)))
    assert {each.status_code for each in answers} <= {200, 202}
    (reference_id,) = {each.json()["referenceId"] for each in answers}
    assert len({each.text for each in answers if each.status_code == 200}) == 1
    assert plugin.record(reference_id, wait_s=10)["state"] == "delivered"
    assert len(harness.site.received(reference_id)) == 1

    problem(plugin.trigger("echo", {"data": {"order": 2}}, headers=key), 422, "idempotency_key_reused")
    assert plugin.trigger("ok", value, headers=key).json()["referenceId"] != reference_id  # keys are per webhook
    items = [{"webhookId": "echo", "idempotencyKey": key["Idempotency-Key"], **value}] * 3
    entries = plugin.call("POST", "/v1/triggers", json=items).json()["results"]
    assert {each["referenceId"] for each in entries} == {reference_id}
    reordered = {"data": {"lines": [1, 2], "order": 1}}
    assert plugin.trigger("echo", reordered, headers=key).json()["referenceId"] == reference_id


def test_a_trace_and_the_reference_id_go_to_the_endpoint(harness, plugin):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    reference_id = plugin.trigger("echo", {"data": "x"}, headers={"traceparent": trace}).json()["referenceId"]
    (received,) = harness.site.received(reference_id)
    assert received.header("webhook-id") == reference_id
    assert received.header("traceparent").split("-")[1] == trace.split("-")[1]


# Codes that occur only in trouble: an API without workers, on a separate server.


@pytest.fixture(scope="module")
def lone():
    with own_api(RELAY_MAX_PENDING_PER_PLUGIN="8", RELAY_MAX_WAITERS="4") as running:
        yield running


def test_a_plugin_with_too_much_pending_is_over_capacity_and_others_are_not(lone):
    accepted = [lone.trigger(prefer="respond-async") for _ in range(8)]
    assert {each.status_code for each in accepted} == {202}
    problem(lone.trigger(prefer="respond-async"), 429, "over_capacity")
    items = [{"webhookId": "order"}] * 3
    entries = lone.call("POST", "/v1/triggers", json=items).json()
    assert [each["problem"]["code"] for each in entries["results"]] == ["over_capacity"] * 3
    theirs = lone.trigger("theirs", key=lone.foreign_key, prefer="respond-async")
    assert theirs.status_code == 202
    for each in accepted:
        lone.store.cancel(each.json()["referenceId"])
    assert lone.trigger(prefer="respond-async").status_code == 202


def test_a_caller_for_whom_there_is_no_room_to_wait_is_answered_at_once(lone):
    with ThreadPoolExecutor(4) as callers:
        waiting = [callers.submit(lone.trigger, "theirs", key=lone.foreign_key, prefer="wait=5") for _ in range(4)]
        begun = 0
        while begun < len(waiting):  # earlier tests left messages of other calls
            begun += sum(lone.store.find(each).webhook_id == "theirs" for each in lone.taken(("interactive",)))
        answered = lone.trigger("theirs", key=lone.foreign_key, prefer="wait=5")
        assert (answered.status_code, answered.headers.get("Preference-Applied")) == (202, None)
        assert not any(each.done() for each in waiting)
        assert {each.result().headers["Preference-Applied"] for each in waiting} == {"wait=5"}
