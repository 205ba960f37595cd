"""Two plugins with the same webhook id learn nothing of each other; hidden webhooks answer like missing ones."""

from __future__ import annotations

import http.client
import json
import re
from urllib.parse import urlsplit

import pytest

from relay import errors
from relay.client import Relay
from tests.receivers import echo, hangs_up, json_answer

REFERENCE = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
# A hidden webhook of the plugin, a webhook of another plugin, and one that does not exist.
UNSEEN = ("inner-step", "only-theirs", "nobody-s")
JSON_TYPE = {"Content-Type": "application/json"}
ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def ours(harness):
    return harness.plugin(
        "first-plugin",
        [
            {
                "id": "order",
                "url": harness.site.page("/first-plugins-endpoint", echo),
                "method": "POST",
                "headers": {"X-Api-Key": "the-first-plugins-secret", "X-Ours": None},
            },
            {"id": "inner-step", "url": harness.site.page("/inner", json_answer(1)), "method": "POST", "hidden": True},
        ],
    )


@pytest.fixture(scope="module")
def theirs(harness):
    return harness.plugin(
        "second-plugin",
        [
            {
                "id": "order",
                "url": harness.site.page("/second-plugins-endpoint", json_answer({"from": "second"})),
                "method": "PUT",
                "headers": {"X-Api-Key": "the-second-plugins-secret"},
                "queryParams": ["theirs"],
                "dataSchema": {"type": "object", "required": ["second"]},
            },
            {"id": "only-theirs", "url": harness.site.page("/theirs", hangs_up()), "method": "POST"},
        ],
    )


def raw_answer_of(harness, method, path, headers, body):
    """Return the raw status, headers without the date, and body, with reference ids replaced by a mark."""
    connection = http.client.HTTPConnection(urlsplit(harness.url).netloc, timeout=30)
    try:
        connection.connect()
        pieces = []
        connection.send = pieces.append
        connection.request(method, path, body, headers)
        # Sent in one piece: a server that answers before it has the body announces that it closes the connection.
        connection.sock.sendall(b"".join(pieces))
        answered = connection.getresponse()
        content = answered.read()
    finally:
        connection.close()
    lines = [(name.lower(), value) for name, value in answered.getheaders() if name.lower() != "date"]
    return answered.status, lines, REFERENCE.sub(b"<reference id>", content)


def test_the_same_id_calls_each_plugin_s_own_endpoint(harness, ours, theirs):
    first = ours.trigger("order", {"data": {"n": 1}, "headers": {"X-Ours": "yes"}}).json()
    second = theirs.trigger("order", {"data": {"second": 2}, "queryParams": {"theirs": 1}}).json()
    assert second["data"] == {"from": "second"}
    assert json.loads(first["data"]["data"]) == {"n": 1}
    (to_first,), (to_second,) = (harness.site.received(each["referenceId"]) for each in (first, second))
    assert (to_first.method, to_first.target) == ("POST", "/first-plugins-endpoint")
    assert (to_second.method, to_second.target) == ("PUT", "/second-plugins-endpoint?theirs=1")
    assert to_first.header("X-Api-Key") == "the-first-plugins-secret"
    assert to_second.header("X-Api-Key") == "the-second-plugins-secret"
    assert "second" not in json.dumps(first)


@pytest.mark.parametrize("value", [{"headers": {"X-Ours": "1"}}, {"data": {"n": 1}}, {"queryParams": {"theirs": 1}}])
def test_a_trigger_is_judged_by_the_own_registration_only(ours, theirs, value):
    first, second = ours.trigger("order", value), theirs.trigger("order", value)
    assert (first.status_code, second.status_code) == (422 if "queryParams" in value else 200, 422)
    faults = {each["pointer"] for each in second.json()["errors"]}
    assert faults == {"/data"} | ({"/headers/X-Ours"} if "headers" in value else set())
    assert "second" not in first.text


def test_no_invocation_of_another_plugin_is_seen_by_anyone(ours, theirs):
    for reader, owner in ((ours, theirs), (theirs, ours)):
        data = {"data": {"second": 1}}
        done = owner.trigger("order", data).json()["referenceId"]
        waits = owner.trigger("order", data, prefer="respond-async").json()["referenceId"]
        refused = owner.trigger("order", {"data": 1}).json()["referenceId"]
        unknown = "0199c000-0000-7000-8000-000000000000"
        for key in (reader.key, reader.operator_key):
            for headers in ({}, {"Prefer": "wait=1"}):
                answers = [
                    reader.call("GET", f"/v1/invocations/{ref}", key=key, headers=headers).text.replace(ref, "")
                    for ref in (done, waits, refused)
                ]
                assert set(answers) == {answers[0]}
                assert json.loads(answers[0])["code"] == "not_found"
        assert unknown not in (done, waits, refused)
        with Relay(reader.harness.url, reader.key) as client, pytest.raises(errors.NotFound):
            client.wait(done, 2)


def test_commands_show_a_plugin_its_own_only(harness, ours, theirs):
    reference_id = theirs.trigger("order", {"data": {"second": 1}}).json()["referenceId"]
    listed = [
        {
            row["referenceId"]
            for row in harness.relay.cli("invocations", "list", "--plugin", each.name, "--limit", "1000")
        }
        for each in (ours, theirs)
    ]
    assert reference_id in listed[1]
    assert not listed[0] & listed[1]
    ids = [
        {row["id"] for row in harness.relay.cli("webhooks", "list", "--plugin", each.name)} for each in (ours, theirs)
    ]
    assert ids == [{"order", "inner-step"}, {"order", "only-theirs"}]
    with pytest.raises(AssertionError, match="ended with 1"):
        harness.relay.cli("invocations", "show", reference_id, "--plugin", ours.name)


def test_one_idempotency_key_of_two_plugins_is_two_keys(ours, theirs):
    key = {"Idempotency-Key": "the-same-for-both"}
    value = {"data": {"second": 1}}
    first = [ours.trigger("order", value, headers=key).json()["referenceId"] for _ in range(2)]
    second = [theirs.trigger("order", value, headers=key).json()["referenceId"] for _ in range(2)]
    assert first[0] == first[1]
    assert second[0] == second[1]
    assert first[0] != second[0]


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (b"{}", {}),
        (b'{"data":{"n":1},"headers":{"X-Ours":"1"},"queryParams":{"theirs":1}}', {}),
        (b'{"data":5}', {}),
        (b'{"method":"DELETE"}', {}),
        (b"[]", {}),
        (b'{"data":', {}),
        (b"{}", {"Prefer": "respond-async"}),
        (b"{}", {"Prefer": "wait=1", "Idempotency-Key": "k-1"}),
        (b"{}", {"Idempotency-Key": "not visible"}),
        (b"{}", {"Content-Type": "text/plain"}),
        (b"{}", {"Origin": ORIGIN}),
        (b"{}", {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}),
    ],
)
@pytest.mark.parametrize("scope", ["trigger", "operate"])
def test_hidden_foreign_and_unknown_webhooks_answer_alike_byte_for_byte(harness, ours, theirs, scope, body, more):
    key = ours.key if scope == "trigger" else ours.operator_key
    headers = {**JSON_TYPE, "Authorization": f"Bearer {key}", **more}
    answers = [
        raw_answer_of(harness, "POST", f"/v1/webhooks/{webhook_id}/trigger", headers, body)
        for webhook_id in (*UNSEEN, "No%20Id", "x" * 100)
    ]
    assert answers == answers[:1] * len(answers)
    status, _, content = answers[0]
    assert status >= 400
    if "code" in json.loads(content) and status == 404:
        assert json.loads(content)["code"] == "webhook_not_registered"
        assert b"<reference id>" in content


def test_as_items_of_many_they_answer_alike_too(ours):
    items = [{"webhookId": webhook_id, "data": {"n": 1}} for webhook_id in UNSEEN]
    entries = ours.call("POST", "/v1/triggers", json=items).json()["results"]
    problems = [{**entry["problem"], "referenceId": None} for entry in entries]
    assert problems[0] == problems[1] == problems[2]
    assert problems[0]["code"] == "webhook_not_registered"


def test_their_records_are_alike(ours):
    records = []
    for webhook_id in UNSEEN:
        reference_id = ours.trigger(webhook_id, {"data": {"n": 1}}).json()["referenceId"]
        record = ours.record(reference_id)
        assert record["webhookId"] == webhook_id
        changing = ("referenceId", "webhookId", "createdAt", "finishedAt", "expiresAt")
        records.append({name: value for name, value in record.items() if name not in changing})
    assert records[0] == records[1] == records[2]
    assert (records[0]["state"], records[0]["requestBytes"], records[0]["attempts"]) == ("rejected", 0, [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_say_nothing_about_a_webhook_either(harness, ours, theirs, method):
    headers = {"Authorization": f"Bearer {ours.key}"}
    answers = [
        raw_answer_of(harness, method, f"/v1/webhooks/{webhook_id}/trigger", headers, None)
        for webhook_id in ("order", *UNSEEN)
    ]
    assert len({repr(answer) for answer in answers}) == 1
