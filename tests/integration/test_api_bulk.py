import json

import pytest

from tests.integration.test_api_triggers import problem

NDJSON = {"Content-Type": "application/x-ndjson"}


def test_a_list_is_accepted_item_by_item_in_order(api):
    items = [
        {"webhookId": "order", "data": {"n": 1}},
        {"webhookId": "inner"},
        {"webhookId": "order", "headers": {"X-Other": "1"}},
        {"webhookId": "order", "data": "x", "headers": {"X-Locale": "en"}, "queryParams": {"lang": "en"}},
        "no object",
        {"data": 1},
        {"webhookId": "order", "method": "DELETE"},
        {"webhookId": "order", "idempotencyKey": "with blank"},
    ]
    answer = api.call("POST", "/v1/triggers", json=items)
    assert answer.status_code == 202
    body = answer.json()
    assert list(body) == ["accepted", "rejected", "results"]
    codes = [each["problem"]["code"] if "problem" in each else each["state"] for each in body["results"]]
    assert codes == [
        "queued",
        "webhook_not_registered",
        "request_rejected",
        "queued",
        "request_rejected",
        "request_rejected",
        "request_rejected",
        "bad_parameter",
    ]
    assert (body["accepted"], body["rejected"]) == (2, 6)
    for each in body["results"]:
        assert list(each) in (["referenceId", "state"], ["problem"])
        assert "problem" not in each or {"type", "title", "status", "detail", "code"} <= set(each["problem"])
    assert api.taken(["bulk"]) == [body["results"][0]["referenceId"], body["results"][3]["referenceId"]]
    assert "referenceId" in body["results"][2]["problem"]
    assert body["results"][7]["problem"]["errors"][0]["pointer"] == "/idempotencyKey"


def test_lines_are_accepted_one_by_one_and_a_bad_line_is_its_own_problem(api):
    lines = ['{"webhookId": "order"}', "{broken", "", '{"webhookId": "order", "data": NaN}', '{"webhookId": "order"}\r']
    answer = api.call("POST", "/v1/triggers", data="\n".join(lines).encode(), headers=NDJSON)
    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [each["problem"]["code"] if "problem" in each else each["state"] for each in results] == [
        "queued",
        "malformed_json",
        "malformed_json",
        "queued",
    ]


def test_an_item_with_an_idempotency_key_is_accepted_once(api):
    items = [{"webhookId": "order", "idempotencyKey": "bulk-1"}] * 2
    first = api.call("POST", "/v1/triggers", json=items).json()["results"]
    again = api.call("POST", "/v1/triggers", json=items).json()["results"]
    (ref,) = {each["referenceId"] for each in first + again}
    api.settle([ref])
    ended = api.call("POST", "/v1/triggers", json=items).json()["results"]
    assert ended == [{"referenceId": ref, "state": "delivered"}] * 2


@pytest.mark.parametrize("kind", ["array", "lines"])
def test_each_item_keeps_its_trace_its_caller_and_its_delay(api, kind):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    items = [{"webhookId": "order", "data": {"n": n}, "delay": 60 * n} for n in range(3)]
    body = json.dumps(items) if kind == "array" else "\n".join(map(json.dumps, items))
    headers = {"Content-Type": "application/json", "traceparent": trace} | (NDJSON if kind == "lines" else {})
    results = api.call("POST", "/v1/triggers", data=body, headers=headers).json()["results"]
    assert [each["state"] for each in results] == ["queued"] * 3
    records = [api.store.get("acme", each["referenceId"]) for each in results]
    assert {(each.traceparent, each.caller, each.lane) for each in records} == {(trace, api.key_row.id, "bulk")}
    waits = [None if each.not_before_ms is None else each.not_before_ms - each.created_at_ms for each in records]
    assert waits == [None, 60_000, 120_000]


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[1,", b"\xff", b'[{"a":1,"a":2}]'])
def test_an_unreadable_array_is_a_malformed_body(api, body):
    answer = api.call("POST", "/v1/triggers", data=body, headers={"Content-Type": "application/json"})
    problem(answer, 400, "malformed_json")


def test_a_list_is_always_asynchronous(api):
    answer = api.call("POST", "/v1/triggers", json=[{"webhookId": "order"}], headers={"Prefer": "wait=29"})
    assert answer.elapsed.total_seconds() < 20
    assert "Preference-Applied" not in answer.headers
    answer = api.call("POST", "/v1/triggers", json=[], headers={"Prefer": "respond-async"})
    assert answer.json() == {"accepted": 0, "rejected": 0, "results": []}
    assert answer.headers["Preference-Applied"] == "respond-async"


def test_a_thousand_items_are_taken_and_one_more_is_too_many(api):
    items = [{"webhookId": "order", "data": {"n": n}} for n in range(1000)]
    answer = api.call("POST", "/v1/triggers", json=items)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1000)
    assert api.queue.llen("bulk") == 8  # a message for every 128 calls that wait
    assert api.taken(["bulk"]) == [each["referenceId"] for each in answer.json()["results"]]
    problem(api.call("POST", "/v1/triggers", json=[*items, items[0]]), 413, "too_large")
    lines = [json.dumps(item) for item in items]
    answer = api.call("POST", "/v1/triggers", data="\n".join(lines).encode(), headers=NDJSON)
    assert answer.json()["accepted"] == 1000
    answer = api.call("POST", "/v1/triggers", data="\n".join([*lines, lines[0]]).encode(), headers=NDJSON)
    problem(answer, 413, "too_large")


def test_data_nested_as_deep_as_allowed_is_allowed_in_a_list_too(api):
    deep = b"[" * 31 + b"]" * 31
    single = b'{"data":' + deep + b"}"
    how = {"headers": {"Content-Type": "application/json", "Prefer": "respond-async"}}
    assert api.call("POST", "/v1/webhooks/order/trigger", data=single, **how).status_code == 202
    body = b'[{"webhookId":"order","data":' + deep + b"}]"
    assert api.call("POST", "/v1/triggers", data=body, **how).json()["accepted"] == 1
    problem(api.call("POST", "/v1/triggers", data=body.replace(deep, b"[" + deep + b"]"), **how), 400, "malformed_json")
