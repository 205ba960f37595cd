"""Checks a running relay against the contract of the API: every code and header, whatever is sent."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.conftest import start_valkey
from tests.e2e.harness import ORIGIN
from tests.integration.api_harness import environ_for, running_api
from tests.receivers import answer, echo, json_answer, slow

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
REFERENCE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
OLD = "01000000-0000-7000-8000-000000000000"  # a UUIDv7 of 2004
RECORD = [
    *("referenceId", "webhookId", "revision", "state", "createdAt", "finishedAt", "attempts", "result"),
    *("requestBytes", "responseBytes", "caller", "replayOf", "replayedBy", "chain", "expiresAt"),
]
ATTEMPT = ["number", "startedAt", "durationMs", "status", "outcome", "sent"]
TRIGGER = "/v1/webhooks/ok/trigger"
JSON_TYPE = {"Content-Type": "application/json"}
NDJSON_TYPE = {"Content-Type": "application/x-ndjson"}


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


def assert_problem(answered, status, code, also=()):
    """Check an answer's problem document: its status, code and shape."""
    assert answered.status_code == status, answered.text
    assert answered.headers["Content-Type"] == "application/problem+json"
    problem = answered.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"]
    assert problem["title"]
    assert problem["detail"]
    assert set(problem) <= {"type", "title", "status", "detail", "code", "errors", "referenceId", *also}
    for each in problem.get("errors", []):
        assert set(each) == {"pointer", "message"}
        assert each["pointer"] == "" or each["pointer"].startswith("/")
    assert ("Retry-After" in answered.headers) == (status in {429, 503})
    assert ("WWW-Authenticate" in answered.headers) == (status == 401)
    return problem


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
    problem = assert_problem(plugin.call(method, path, data=body, headers=headers), status, code)
    recorded = code in {"request_rejected", "webhook_not_registered"}
    assert ("referenceId" in problem) == recorded
    assert ("errors" in problem) == (code == "request_rejected")
    if recorded:
        record = plugin.record(problem["referenceId"])
        assert (record["state"], record["result"], record["attempts"]) == ("rejected", None, [])
        assert RFC3339.fullmatch(record["finishedAt"])


def test_a_key_needs_the_scope_of_what_it_does(harness, plugin):
    operator = harness.relay.create_key(plugin.name, ("operate",))
    assert_problem(plugin.call("POST", TRIGGER, json={}, key=operator), 403, "forbidden")
    reference_id = plugin.trigger("ok").json()["referenceId"]
    for key in (operator, plugin.key):
        assert plugin.call("GET", f"/v1/invocations/{reference_id}", key=key).status_code == 200


def test_a_405_says_what_is_allowed(plugin):
    assert "POST" in plugin.call("GET", TRIGGER).headers["Allow"]
    assert "GET" in plugin.call("DELETE", "/healthz").headers["Allow"]


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
    assert list(record) == RECORD
    (attempt,) = record["attempts"]
    assert list(attempt) == ATTEMPT
    assert list(record["result"]) == ["status", "data", "error"]
    assert all(RFC3339.fullmatch(record[name]) for name in ("createdAt", "finishedAt", "expiresAt"))
    assert (record["webhookId"], record["revision"], record["state"]) == ("echo", 1, "delivered")
    assert json.loads(record["result"]["data"]["data"]) == {"n": 2**70}
    assert record["requestBytes"] > 20
    assert record["responseBytes"] > 100

    theirs = plugin.call("GET", f"/v1/invocations/{reference_id}").json()
    assert set(RECORD) - set(theirs) == {"caller", "chain"}
    assert theirs["attempts"][0]["outcome"] is None


def test_a_long_poll_ends_with_the_invocation(plugin):
    reference_id = plugin.trigger("slow", prefer="respond-async").json()["referenceId"]
    at_once = plugin.record(reference_id)
    assert (at_once["state"] in {"queued", "sending"}, at_once["result"]) == (True, None)
    begun_s = time.monotonic()
    answered = plugin.call("GET", f"/v1/invocations/{reference_id}", headers={"Prefer": "wait=20"})
    assert time.monotonic() - begun_s < 18
    assert answered.headers["Preference-Applied"] == "wait=20"
    assert answered.json()["result"] == {"status": 200, "data": "late", "error": False}


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

    assert_problem(plugin.trigger("echo", {"data": {"order": 2}}, headers=key), 422, "idempotency_key_reused")
    assert plugin.trigger("ok", value, headers=key).json()["referenceId"] != reference_id  # keys are per webhook
    items = [{"webhookId": "echo", "idempotencyKey": key["Idempotency-Key"], **value}] * 3
    entries = plugin.call("POST", "/v1/triggers", json=items).json()["results"]
    assert {each["referenceId"] for each in entries} == {reference_id}
    reordered = {"data": {"lines": [1, 2], "order": 1}}
    assert plugin.trigger("echo", reordered, headers=key).json()["referenceId"] == reference_id


def test_many_are_accepted_in_order_and_each_bad_line_is_its_own_problem(plugin):
    lines = [
        b'{"webhookId":"ok","data":{"n":1}}',
        b"",
        b'{"webhookId":"ok","data":',
        b'{"webhookId":"nothing"}',
        b'{"webhookId":"ok","data":7}',
        b'{"data":{}}',
        b"[]",
        b'{"webhookId":"ok","idempotencyKey":" "}',
        b'{"webhookId":"ok"}\r',
    ]
    answered = plugin.call("POST", "/v1/triggers", data=b"\n".join(lines), headers=NDJSON_TYPE)
    assert answered.status_code == 202
    body = answered.json()
    assert list(body) == ["accepted", "rejected", "results"]
    assert (body["accepted"], body["rejected"]) == (2, 6)
    codes = [each.get("problem", {}).get("code") for each in body["results"]]
    assert codes == [
        *(None, "malformed_json", "webhook_not_registered", "request_rejected", "request_rejected"),
        *("request_rejected", "bad_parameter", None),
    ]
    for each in body["results"]:
        assert list(each) in (["referenceId", "state"], ["problem"])
        if "problem" in each:
            assert {"type", "title", "status", "detail", "code"} <= set(each["problem"])


@pytest.mark.parametrize("kind", [JSON_TYPE, NDJSON_TYPE])
def test_a_thousand_items_are_taken_and_one_more_is_too_large(plugin, kind):
    def body(count):
        items = [b'{"webhookId":"nothing"}'] * count
        return b"[" + b",".join(items) + b"]" if kind is JSON_TYPE else b"\n".join(items)

    assert_problem(plugin.call("POST", "/v1/triggers", data=body(1_001), headers=kind), 413, "too_large")
    assert plugin.call("POST", "/v1/triggers", data=body(1_000), headers=kind).json()["rejected"] == 1_000


# Raw bytes that no client library would send.


def said(harness, plugin, lines, body=b"", path=TRIGGER, wait_s=3.0):
    """Send a raw request; return the status and problem code of the first answer."""
    head = [f"POST {path} HTTP/1.1", "Host: relay", f"Authorization: Bearer {plugin.key}", "Prefer: respond-async"]
    address = urlsplit(harness.url)
    with socket.create_connection((address.hostname, address.port), timeout=wait_s) as connection:
        connection.sendall("\r\n".join([*head, *lines, "", ""]).encode() + body)
        answered = http.client.HTTPResponse(connection)
        answered.begin()
        content = answered.read()
    return answered.status, json.loads(content) if content.startswith(b"{") else None


TYPE = "Content-Type: application/json"
CAP_BYTES = 8 * 1024 * 1024


def test_a_body_over_the_cap_is_refused_without_being_read(harness, plugin):
    status, problem = said(harness, plugin, [TYPE, f"Content-Length: {CAP_BYTES + 1}"])  # none of the body is sent
    assert (status, problem["code"]) == (413, "too_large")


def test_a_chunked_body_is_read_to_its_end_and_no_further_than_the_cap(harness, plugin):
    chunked = [TYPE, "Transfer-Encoding: chunked"]
    status, body = said(harness, plugin, chunked, b'8\r\n{"data":\r\n2\r\n{}\r\n1\r\n}\r\n0\r\n\r\n')
    assert (status, list(body)) == (202, ["referenceId", "state"])
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    status, problem = said(harness, plugin, chunked, piece * 8 + b"10\r\n" + b" " * 16 + b"\r\n0\r\n\r\n", wait_s=20)
    assert (status, problem["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("lines", "body", "statuses"),
    [
        ([TYPE, "Content-Length: 2", "Content-Length: 3"], b"{} ", {400}),
        ([TYPE, "Content-Length: -2"], b"{}", {400}),
        ([TYPE, "Content-Length: 0x2"], b"{}", {400}),
        ([TYPE, "Transfer-Encoding: gzip, chunked"], b"2\r\n{}\r\n0\r\n\r\n", {400, 415}),
        ([TYPE, "Content-Length: 2", "X-A: b\x00c"], b"{}", {400}),
    ],
)
def test_framing_that_two_readers_could_read_differently_is_refused(harness, plugin, lines, body, statuses):
    status, problem = said(harness, plugin, lines, body)
    assert status in statuses
    assert problem is None or problem["code"] in {"bad_parameter", "unsupported_media_type"}


def test_a_body_that_is_framed_twice_is_read_one_way_and_is_the_connection_s_last(harness, plugin):
    """Granian ignores a Content-Length beside chunks: it reads the chunks and closes the connection (RFC 9112, 6.1)."""
    address = urlsplit(harness.url)
    head = [f"POST {TRIGGER} HTTP/1.1", "Host: relay", f"Authorization: Bearer {plugin.key}", "Prefer: respond-async"]
    lines = [*head, TYPE, "Content-Length: 60", "Transfer-Encoding: chunked", "", ""]
    smuggled = b"2\r\n{}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall("\r\n".join(lines).encode() + smuggled)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))  # to its end
    assert received.count(b"HTTP/1.1 ") == 1


# Browsers


@pytest.mark.parametrize("path", [TRIGGER, "/v1/triggers", f"/v1/invocations/{OLD}"])
def test_a_preflight_is_answered_without_a_key_for_origins_of_keys(harness, plugin, path):
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,prefer,idempotency-key",
        "Authorization": "",
    }
    allowed = plugin.call("OPTIONS", path, headers=asked)
    assert allowed.status_code in {200, 204}
    assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    names = {name.strip() for name in allowed.headers["Access-Control-Allow-Headers"].lower().split(",")}
    assert names >= {"authorization", "content-type", "prefer", "idempotency-key"}
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    other = plugin.call("OPTIONS", path, headers={**asked, "Origin": "https://elsewhere.example.com"})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_a_browser_may_read_answers_problems_and_the_exposed_headers(plugin):
    origin = {"Origin": ORIGIN}
    for answered in (
        plugin.trigger("ok", key=plugin.operator_key, headers=origin),
        plugin.trigger("ok", key=plugin.operator_key, prefer="respond-async", headers=origin),
        plugin.trigger("nothing", key=plugin.operator_key, headers=origin),
        plugin.trigger("ok", key="whk_x_y", headers=origin),
    ):
        assert answered.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "origin" in answered.headers["Vary"].lower()
        exposed = {name.strip() for name in answered.headers["Access-Control-Expose-Headers"].lower().split(",")}
        assert exposed == {"location", "retry-after", "preference-applied"}


def test_health_and_readiness_are_open_and_say_so(harness):
    for path in ("/healthz", "/readyz"):
        connection = http.client.HTTPConnection(urlsplit(harness.url).netloc, timeout=5)
        connection.request("GET", path)
        answered = connection.getresponse()
        assert (answered.status, "status" in json.loads(answered.read())) == (200, True)
        connection.close()


def test_a_trace_and_the_reference_id_go_to_the_endpoint(harness, plugin):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    reference_id = plugin.trigger("echo", {"data": "x"}, headers={"traceparent": trace}).json()["referenceId"]
    (received,) = harness.site.received(reference_id)
    assert received.header("webhook-id") == reference_id
    assert received.header("traceparent").split("-")[1] == trace.split("-")[1]


# Codes that occur only in trouble: an API without workers, on a separate server.


@contextmanager
def lone_api(directory, **settings):
    server = start_valkey(directory)
    with ExitStack() as stack:
        stack.callback(server.terminate)
        environ = environ_for(f"redis://127.0.0.1:{server.port}/0", **settings)
        yield stack.enter_context(running_api(environ)), server


@pytest.fixture(scope="module")
def lone(tmp_path_factory):
    settings = {"RELAY_MAX_PENDING_PER_PLUGIN": "8", "RELAY_MAX_WAITERS": "4"}
    with lone_api(tmp_path_factory.mktemp("lone"), **settings) as (running, _):
        yield running


def test_a_plugin_with_too_much_pending_is_over_capacity_and_others_are_not(lone):
    accepted = [lone.trigger(prefer="respond-async") for _ in range(8)]
    assert {each.status_code for each in accepted} == {202}
    assert_problem(lone.trigger(prefer="respond-async"), 429, "over_capacity")
    items = [{"webhookId": "order"}] * 3
    entries = lone.call("POST", "/v1/triggers", json=items).json()
    assert [each["problem"]["code"] for each in entries["results"]] == ["over_capacity"] * 3
    theirs = lone.trigger("theirs", key=lone.foreign_key, prefer="respond-async")
    assert theirs.status_code == 202
    for each in accepted:
        lone.store.cancel(each.json()["referenceId"])
    assert lone.trigger(prefer="respond-async").status_code == 202


def test_an_awaited_call_that_is_cancelled_is_a_409(lone):
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(lone.trigger, "read", prefer="wait=20")
        (reference_id,) = lone.taken(("interactive",))
        lone.store.cancel(reference_id)
        problem = assert_problem(waiting.result(20), 409, "cancelled")
    assert problem["referenceId"] == reference_id


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


def test_without_a_worker_it_is_healthy_but_not_ready(lone):
    assert lone.call("GET", "/healthz").status_code == 200
    assert_problem(lone.call("GET", "/readyz"), 503, "unavailable", also=("lanes", "warnings", "workers"))


def test_a_rate_and_a_lost_store_have_their_codes_and_a_damaged_result_is_named(tmp_path):
    with lone_api(tmp_path, RELAY_PLUGIN_RATE="3/m") as (running, server):
        answers = [running.trigger(prefer="respond-async") for _ in range(8)]
        limited = [each for each in answers if each.status_code != 202]
        assert 1 <= len(answers) - len(limited) <= 4
        for each in limited:
            assert_problem(each, 429, "rate_limited")
        reference_id = answers[0].json()["referenceId"]
        running.settle([reference_id], data={"kept": True})
        path = f"/v1/invocations/{reference_id}"
        assert running.call("GET", path).json()["result"]["data"] == {"kept": True}
        running.queue.set(f"relay:{{0}}:inv:{reference_id}:result", b"not what was sealed")
        record = running.call("GET", path).json()
        assert (record["damaged"], record["result"]["data"]) == (["result"], None)
        server.terminate()
        for method, where in (("POST", "/v1/webhooks/order/trigger"), ("GET", path), ("GET", "/readyz")):
            body = {"json": {}} if method == "POST" else {}
            assert_problem(running.call(method, where, **body), 503, "unavailable")
        assert running.call("GET", "/healthz").status_code == 200
