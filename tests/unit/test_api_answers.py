"""What each route answers, member by member, about calls that ended in each way: the API's application, in this process."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import ANY

import pytest

from relay.declarations.typescript import MODULE_TYPES
from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.errors import WebhookNotRegistered
from tests.integration.api_harness import ApiHarness
from tests.store_keys import KEYS
from tests.unit.cli import a_webhook
from tests.unit.test_api_in_process import JSON, REF, Api

TIME = re.compile(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z")
HEADERS = {"Cache-Control": "no-store", "Content-Type": "application/json"}
#: How a call may end with a result, and the result.
RESULTS = {
    "answered": ({"data": {"n": 2**70}}, {"status": 200, "data": {"n": 2**70}, "error": False}),
    "refused": ({"status": 404, "data": "no"}, {"status": 404, "data": "no", "error": True}),
    "unreachable": (
        {"status": 0, "outcome": Outcome.TLS_FAILED, "state": State.UNREACHABLE},
        {
            "status": 0,
            "data": {
                "code": "unreachable",
                "message": "The endpoint could not be contacted; nothing was sent.",
                "sent": "no",
            },
            "error": True,
        },
    ),
}
#: Ids without a record, and what is said of them: one is older than any record that is kept.
UNKNOWN = [(REF, 410, "expired"), (new_reference_id("acme"), 404, "not_found"), ("x", 404, "not_found")]


class Site(Api):
    """The application, with a key for everything, and a worker played by hand."""

    settle = ApiHarness.settle

    def __init__(self, cli):
        super().__init__(cli.url, **cli.environ | {"RELAY_DEFAULT_WAIT": "0"})
        self.plugin_key = self.key
        self.key, self.row = self.runtime.api_keys.create("acme", ["trigger", "operate", "metrics"])
        self.store = self.runtime.store

    def post(self, path, value=None, **headers):
        content = {} if value is None else {"body": json.dumps(value), **JSON}
        return self.call(path, "POST", **content, **headers)

    def trigger(self, value=None, *, webhook="ping", **headers):
        return self.post(f"/v1/webhooks/{webhook}/trigger", value, **headers)

    def ended(self, end, *, webhook="ping", **headers):
        """Accept a call that ends as is told; return its reference id."""
        value = {} if webhook == "read" else {"data": {"a": 1}}
        ref = self.trigger(value, webhook=webhook, **headers).json["referenceId"]
        self.settle([ref], **end)
        return ref

    def get(self, path, **headers):
        answer = self.call(f"/v1/{path}", **headers)
        assert (answer.status_code, {name: answer.headers[name] for name in HEADERS}) == (200, HEADERS)
        return answer.json


@pytest.fixture
def site(cli):
    cli.apply(a_webhook(), a_webhook(id="read", method="GET"), a_webhook(id="inner", hidden=True))
    made = Site(cli)
    yield made
    made.runtime.close()


def told(answer, *names):
    return [answer.status_code, answer.json, *(answer.headers.get(name) for name in names)]


def problem(status, code, **more):
    kind = f"urn:problem-type:webhook-relay:{code}"
    return {"type": kind, "title": ANY, "status": status, "detail": ANY, "code": code} | more


@pytest.mark.parametrize(("given", "applied"), [({}, None), ({"Prefer": "respond-async"}, "respond-async")])
def test_a_trigger_that_is_not_awaited_is_told_where_its_record_is(site, given, applied):
    for value in (None, {}, {"data": {"a": 1}, "delay": 0}):
        answer = site.trigger(value, **given)
        ref = answer.json["referenceId"]
        where = f"/v1/invocations/{ref}"
        headers = HEADERS | {"Location": where, "Retry-After": "1", "Preference-Applied": applied}
        assert told(answer, *headers) == [202, {"referenceId": ref, "state": "queued"}, *headers.values()]
        assert site.get(where.removeprefix("/v1/"))["referenceId"] == ref


@pytest.mark.parametrize("name", RESULTS)
def test_a_repeat_of_a_call_that_has_ended_gets_its_result_at_once(site, name):
    end, result = RESULTS[name]
    ref = site.ended(end, Idempotency_Key="one")
    again = {"value": {"data": {"a": 1}}, "Idempotency_Key": "one"}
    headers = HEADERS | {"Location": None, "Retry-After": None, "Preference-Applied": "wait=60"}
    expected = [200, {"referenceId": ref, **result}, *headers.values()]
    assert told(site.trigger(**again, Prefer="wait=60"), *headers) == expected
    site.waiters.release()  # from now on there is no room to wait
    assert told(site.trigger(**again, Prefer="wait=60"), *headers) == expected
    unawaited = site.trigger(**again, Prefer="respond-async")
    assert told(unawaited, "Location") == [202, {"referenceId": ref, "state": ANY}, f"/v1/invocations/{ref}"]


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (None, 409, "cancelled"),
        (Outcome.REQUEST_REJECTED, 422, "request_rejected"),
        (Outcome.WEBHOOK_NOT_REGISTERED, 404, "webhook_not_registered"),
    ],
)
def test_a_repeat_of_a_call_that_ended_without_a_result_is_told_why(site, outcome, status, code):
    ref = site.trigger(Idempotency_Key="one").json["referenceId"]
    if outcome is None:
        site.store.cancel(ref)
    else:
        site.settle([ref], outcome=outcome, state=State.REJECTED)
    expected = [status, problem(status, code, referenceId=ref), "application/problem+json"]
    assert told(site.trigger(Idempotency_Key="one", Prefer="wait=60"), "Content-Type") == expected
    site.waiters.release()
    assert told(site.trigger(Idempotency_Key="one", Prefer="wait=60"), "Content-Type") == expected
    assert site.get(f"invocations/{ref}")["result"] is None


@pytest.mark.parametrize("is_ended", [True, False])
@pytest.mark.parametrize("earlier", [False, True])
def test_who_waits_is_answered_when_the_call_ends_or_the_api_is_about_to_stop(site, earlier, is_ended, monkeypatch):
    monkeypatch.setattr("api.awaiting._LOOK_AGAIN_S", 0.02)  # no notices are heard here
    ref = site.trigger().json["referenceId"] if earlier else None
    with ThreadPoolExecutor(1) as pool:
        if earlier:
            waiting = pool.submit(site.call, f"/v1/invocations/{ref}", Prefer="wait=60")
        else:
            waiting = pool.submit(site.trigger, Prefer="wait=60")
        while not waiting.done() and not (ref and site.waiters._expected):
            time.sleep(0.001)
            ref = ref or next((row["referenceId"] for row in site.get("invocations")["invocations"]), None)
        if is_ended:
            site.settle([ref], status=404, data=[1])
        else:
            site.waiters.release()
        answer = waiting.result()
    result = {"status": 404, "data": [1], "error": True} if is_ended else {"state": "queued"}
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (
        200 if is_ended or earlier else 202,
        "wait=60",
    )
    assert answer.json == (site.get(f"invocations/{ref}") if earlier else {"referenceId": ref, **result})
    assert site.store.get("acme", ref).lane == ("bulk" if earlier else "interactive")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-ndjson"])
def test_a_trigger_s_body_has_to_be_json(site, content_type):
    headers = {} if content_type is None else {"Content_Type": content_type}
    answer = site.call("/v1/webhooks/ping/trigger", "POST", body=b"{}", **headers)
    assert told(answer) == [415, problem(415, "unsupported_media_type")]
    assert site.get("invocations")["invocations"] == []


@pytest.mark.parametrize("name", RESULTS)
def test_a_record_has_its_result_and_a_row_of_a_listing_has_it_without_data(site, name):
    end, result = RESULTS[name]
    ref = site.ended(end)
    outcome = end.get("outcome", "answered")
    attempt = {"number": 1, "startedAt": "2023-11-14T22:13:20.000Z", "durationMs": 5, "status": result["status"]}
    record = site.get(f"invocations/{ref}")
    assert record == {
        "referenceId": ref,
        "webhookId": "ping",
        "revision": 1,
        "state": end.get("state", "delivered"),
        "createdAt": ANY,
        "finishedAt": ANY,
        "expiresAt": ANY,
        "requestBytes": 46,
        "responseBytes": 0,
        "attempts": [attempt | {"outcome": outcome, "sent": "no" if outcome == "tls_failed" else "answered"}],
        "result": result,
        "caller": site.row.id,
        "replayOf": None,
        "replayedBy": None,
        "chain": None,
    }
    assert all(TIME.fullmatch(record[name]) for name in ("createdAt", "finishedAt", "expiresAt"))
    row = record | {"result": {"status": result["status"], "error": result["error"]}}
    assert site.get("invocations") == {"invocations": [row], "cursor": None}
    seen = site.get(f"invocations/{ref}", key=site.plugin_key)
    coarse = [{**record["attempts"][0], "outcome": None if outcome == "answered" else "unreachable"}]
    assert seen == {name: record[name] for name in record if name not in ("caller", "chain")} | {"attempts": coarse}


@pytest.mark.parametrize(
    ("given", "applied"), [({}, None), ({"Prefer": "wait=60"}, "wait=60"), ({"Prefer": "?"}, None)]
)
def test_a_wait_for_a_record_that_is_final_is_over_at_once(site, given, applied):
    ref = site.ended({})
    answer = site.call(f"/v1/invocations/{ref}", **given)
    assert told(answer, "Preference-Applied")[::2] == [200, applied]
    assert answer.json["state"] == "delivered"
    for unknown, status, code in UNKNOWN:
        gone = site.call(f"/v1/invocations/{unknown}", **given)
        assert told(gone, "Preference-Applied") == [status, problem(status, code), None]


def test_a_wait_for_which_there_is_no_room_is_not_said_to_have_been_applied(site):
    ref = site.trigger().json["referenceId"]
    site.waiters.release()
    answer = site.call(f"/v1/invocations/{ref}", Prefer="wait=60")
    assert (answer.json["state"], answer.headers.get("Preference-Applied")) == ("queued", None)


def test_a_result_that_does_not_open_is_damaged_and_is_no_answer_to_a_repeat(site):
    ref = site.ended({"data": 1}, Idempotency_Key="one")
    site.runtime.client.set(KEYS.result(ref), b"\x01garbage")
    record = site.get(f"invocations/{ref}")
    assert (record["result"], record["damaged"]) == ({"status": 200, "data": None, "error": False}, ["result"])
    repeat = {"value": {"data": {"a": 1}}, "Idempotency_Key": "one", "Prefer": "wait=60"}
    expected = [500, problem(500, "internal", referenceId=ref)]
    assert told(site.trigger(**repeat)) == expected
    site.runtime.client.hset(KEYS.record(ref), "outcome", "nonsense")  # it is not known any more how it ended
    assert told(site.trigger(**repeat)) == expected
    assert site.get(f"invocations/{ref}")["damaged"] == ["outcome", "result"]


def test_pages_of_a_listing_follow_each_other(site):
    made = [site.trigger().json["referenceId"] for _ in range(3)]
    first = site.get("invocations?limit=2")
    assert [row["referenceId"] for row in first["invocations"]] == made[:0:-1]
    last = site.get(f"invocations?limit=2&cursor={first['cursor']}")
    assert ([row["referenceId"] for row in last["invocations"]], last["cursor"]) == (made[:1], None)
    assert [row["referenceId"] for row in site.get("invocations?state=queued&webhookId=ping")["invocations"]] == made[
        ::-1
    ]
    assert site.get("invocations?state=delivered") == {"invocations": [], "cursor": None}


def test_an_outline_names_the_parts_of_a_trigger(site):
    ref = site.trigger({"data": {"a": "secret"}}).json["referenceId"]
    parts = [("/data", "object", 14), ("/data/a", "string", 8)]
    assert site.get(f"invocations/{ref}/request") == {
        "parts": [{"pointer": at, "types": [kind], "count": 1, "bytes": size} for at, kind, size in parts],
        "complete": True,
        "missing": None,
    }
    for unknown, status, code in UNKNOWN:
        assert told(site.call(f"/v1/invocations/{unknown}/request")) == [status, problem(status, code)]


def test_webhooks_are_described_without_the_hidden_ones(site):
    described = {"description": None, "dataSchema": None, "headers": ["X-Note"], "queryParams": ["page"]}
    shown = [{"id": name, **described, "payloadEncoding": None} for name in ("ping", "read")]
    assert site.get("webhooks") == {"webhooks": shown}
    assert [site.get(f"webhooks/{each['id']}") for each in shown] == shown
    for name in ("inner", "gone", "Not-An-Id"):
        answer = site.call(f"/v1/webhooks/{name}")
        assert told(answer) == [404, problem(404, "webhook_not_registered", detail=WebhookNotRegistered.sentence)]
    types = site.call("/v1/webhooks.d.ts")
    assert (types.headers["Content-Type"], types.headers["Cache-Control"]) == (
        "application/typescript; charset=utf-8",
        "no-store",
    )
    assert types.text.startswith(MODULE_TYPES)
    own = types.text.removeprefix(MODULE_TYPES)
    assert ("    ping: {" in own, "    read: {" in own, "inner" in own) == (True, True, False)


def test_a_replay_is_planned_started_shown_and_steered(site):
    refs = [site.ended({"status": 503}, webhook=name) for name in ("read", "read", "ping")]
    group = {"outcome": "answered", "status": 503, "firstAt": ANY, "lastAt": ANY}
    planned = site.post("/v1/replays", {"filter": {}, "dryRun": True})
    assert told(planned, *HEADERS) == [
        200,
        {
            "planId": ANY,
            "matched": 3,
            "skipped": 0,
            "skippedReasons": {},
            "leftOut": {},
            "breakdown": [{"webhookId": "read", "count": 2, **group}, {"webhookId": "ping", "count": 1, **group}],
        },
        *HEADERS.values(),
    ]
    assert site.get("replays") == {"replays": []}
    started = site.post("/v1/replays", {"referenceIds": refs[:2], "ratePerSecond": 5, "dryRun": False})
    replay_id = started.json["replayId"]
    path = f"/v1/replays/{replay_id}"
    assert told(started, "Location", *HEADERS) == [
        202,
        {"replayId": replay_id, "state": "running", "matched": 2},
        path,
        *HEADERS.values(),
    ]
    second = site.post("/v1/replays", {"filter": {"webhookId": "read"}}).json["replayId"]
    job = site.get(f"replays/{replay_id}")
    assert (job["replayId"], job["matched"], job["ratePerSecond"], job["caller"]) == (replay_id, 2, 5, site.row.id)
    assert [each["replayId"] for each in site.get("replays")["replays"]] == [second, replay_id]
    assert site.get("replays")["replays"][1] == job
    assert [each["replayId"] for each in site.get("replays?limit=1")["replays"]] == [second]
    for action, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        answer = site.post(f"{path}/{action}")
        assert told(answer, *HEADERS) == [200, site.get(f"replays/{replay_id}"), *HEADERS.values()]
        assert answer.json["state"] == state
    assert told(site.post(f"{path}/pause")) == [409, problem(409, "conflict")]
    for unknown in (REF, "x", "01890000-0000-4000-8000-000000000000"):
        for answer in (site.call(f"/v1/replays/{unknown}"), site.post(f"/v1/replays/{unknown}/pause")):
            assert told(answer) == [404, problem(404, "not_found")]


def test_a_filter_that_proves_faulty_only_when_it_is_used_is_a_fault_of_the_body(site):
    for more in ({}, {"dryRun": True}):
        answer = site.post("/v1/replays", {"filter": {"webhookId": "never-was"}, **more})
        faults = [{"pointer": "/filter/webhookId", "message": ANY}]
        assert told(answer) == [422, problem(422, "request_rejected", errors=faults)]


def test_what_happened_is_counted_by_minute_by_group_and_by_webhook(site):
    for status in (200, 503, 503, 404):
        site.ended({"status": status})
    site.trigger(webhook="read")
    buckets = site.get("stats?since=1h")["buckets"]
    assert (sum(each["accepted"] for each in buckets), sum(each["errors"] for each in buckets)) == (5, 3)
    assert len(buckets) in {60, 61, 62}
    assert [
        sum(each["accepted"] for each in site.get(f"stats?webhookId={name}")["buckets"]) for name in ("ping", "read")
    ] == [4, 1]
    groups = site.get("groups")
    assert groups["complete"] is True
    assert groups["groups"] == [
        {"webhookId": "ping", "outcome": "answered", "status": status, "count": count, "firstAt": ANY, "lastAt": ANY}
        for status, count in ((503, 2), (404, 1))
    ]
    assert site.get("groups?webhookId=read") == {"groups": [], "complete": True}
    assert site.get("groups?since=2999-01-01T00:00:00Z") == {"groups": [], "complete": True}
    traffic = site.get("traffic")
    assert (traffic["plugin"], TIME.fullmatch(traffic["since"]) is None) == ("acme", False)
    assert [(each["webhookId"], each["accepted"], each["errors"]) for each in traffic["webhooks"]] == [
        ("inner", 0, 0),
        ("ping", 4, 3),
        ("read", 1, 0),
    ]


def test_lanes_are_told_with_their_workers_and_with_minutes_if_these_are_asked_for(site):
    site.runtime.workers.beat("w1", ["bulk"])
    site.trigger()
    lanes = [
        {"lane": name, "pending": 0, "oldestSeconds": None, "workers": 0} for name in ("interactive", "bulk", "replay")
    ]
    lanes[1] |= {"pending": 1, "oldestSeconds": ANY, "workers": 1}
    assert site.get("lanes") == {"lanes": lanes}
    found = site.get("lanes?since=2m")
    assert (list(found), len(found["minutes"]) in {3, 4}) == (["lanes", "minutes"], True)
    assert found["minutes"][0]["pending"].keys() == {"interactive", "bulk", "replay"}


def test_a_webhook_is_steered_and_answered_with_its_traffic(site):
    for action, paused in (("pause", True), ("close-breaker", True), ("resume", False)):
        answer = site.post(f"/v1/webhooks/ping/{action}")
        (_, ping, _) = site.get("traffic")["webhooks"]
        assert told(answer, *HEADERS) == [200, ping, *HEADERS.values()]
        assert ping["paused"] is paused
        for unknown in ("gone", "Not-An-Id"):
            assert told(site.post(f"/v1/webhooks/{unknown}/{action}")) == [404, problem(404, "webhook_not_registered")]


def test_the_metrics_are_a_page_of_text(site):
    answer = site.call("/metrics")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert site.call("/metrics", key=site.plugin_key).status_code == 403
    assert told(site.call("/healthz"), *HEADERS) == [200, {"status": "ok"}, *HEADERS.values()]


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize(("given", "applied"), [({}, None), ({"Prefer": "respond-async, wait=9"}, "respond-async")])
def test_each_item_of_a_list_is_answered_in_its_place(site, kind, given, applied):
    items = [
        {"webhookId": "ping", "data": {"a": 1}},
        3,
        {"data": 1},
        {"webhookId": "inner"},
        {"webhookId": "ping", "idempotencyKey": "with blank"},
        {"webhookId": "ping", "headers": {"X-Unknown": "1"}},
        {"webhookId": "ping", "idempotencyKey": "one"},
        {"webhookId": "ping", "idempotencyKey": "one"},
    ]
    body = json.dumps(items) if kind == "application/json" else "\n".join(map(json.dumps, items))
    answer = site.call("/v1/triggers", "POST", body=body, Content_Type=kind, **given)

    def rejected(status, code, pointer, **more):
        faults = [{"pointer": pointer, "message": ANY}]
        return {"problem": problem(status, code, errors=faults, **more)}

    accepted = {"referenceId": ANY, "state": "queued"}
    results = [
        accepted,
        rejected(422, "request_rejected", ""),
        rejected(422, "request_rejected", "/webhookId"),
        {"problem": problem(404, "webhook_not_registered", referenceId=ANY)},
        rejected(400, "bad_parameter", "/idempotencyKey"),
        rejected(422, "request_rejected", "/headers/X-Unknown", referenceId=ANY),
        *[accepted] * 2,
    ]
    expected = {"accepted": 3, "rejected": 5, "results": results}
    assert told(answer, "Preference-Applied", *HEADERS) == [202, expected, applied, *HEADERS.values()]
    assert list(answer.json) == ["accepted", "rejected", "results"]
    found = [each.get("referenceId") for each in answer.json["results"]]
    assert found[6] == found[7] != found[0]
    record = site.store.get("acme", found[0])
    assert (record.caller, record.lane, record.webhook_id) == (site.row.id, "bulk", "ping")


def test_a_list_that_is_none_is_malformed_as_a_whole(site):
    for body in (b"{}", b"null", b"[1,", b"\xff", b""):
        answer = site.call("/v1/triggers", "POST", body=body, **JSON)
        assert told(answer) == [400, problem(400, "malformed_json")]
