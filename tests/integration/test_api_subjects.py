"""A subject at the door, and as a filter of listings and replays."""

from __future__ import annotations

import json

import pytest

from relay.domain.reference_id import new_reference_id
from relay.request.directions import MAX_SUBJECT_CHARS
from tests.integration.test_api_listing import listed, refs
from tests.integration.test_api_triggers import problem

ANN, BOB = "patient Ann/1906 \u00e9", "patient Bob"
BAD = [
    "",
    "x" * (MAX_SUBJECT_CHARS + 1),
    "a\nb",
    "a\x00",
    "\x7f",
    "\x85",
    7,
    1.5,
    True,
    False,
    [],
    ["a"],
    {},
    {"id": "a"},
]
GOOD = ["x", "x" * MAX_SUBJECT_CHARS, "\U0001f600" * MAX_SUBJECT_CHARS, " ", "a/b:c{d}*?%2F", "\u202e"]
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.mark.parametrize("subject", BAD, ids=repr)
def test_what_is_no_subject_is_refused_in_every_form(api, subject):
    trigger = {"data": {"n": 1}, "subject": subject}
    item = {"webhookId": "order", **trigger}
    alone = problem(api.trigger(body=trigger), 422, "request_rejected")
    bulk = api.call("POST", "/v1/triggers", json=[item]).json()["results"][0]["problem"]
    line = api.call("POST", "/v1/triggers", data=json.dumps(item).encode(), headers=NDJSON).json()["results"][0]
    for document in (alone, bulk, line["problem"]):
        assert [each["pointer"] for each in document["errors"]] == ["/subject"]
        assert "256" in document["errors"][0]["message"]


@pytest.mark.parametrize("subject", GOOD, ids=range(len(GOOD)))
def test_a_subject_is_found_exactly_as_it_was_given(api, subject):
    ref = api.trigger(body={"subject": subject}, prefer="respond-async").json()["referenceId"]
    assert ref in refs(listed(api, subject=subject))
    assert ref not in refs(listed(api, subject=subject + "x" if len(subject) < MAX_SUBJECT_CHARS else "y"))


def test_null_names_nobody(api):
    assert api.trigger(body={"subject": None}, prefer="respond-async").status_code == 202


def test_only_its_plugin_finds_a_subject_and_no_record_shows_it(fresh_api):
    api = fresh_api
    made = [
        api.trigger(body={"subject": subject}, prefer="respond-async").json()["referenceId"]
        for subject in (ANN, BOB, ANN)
    ]
    rows = listed(api, subject=ANN)
    assert refs(rows) == [made[2], made[0]]
    assert refs(listed(api, subject=ANN, webhookId="order", state="queued")) == [made[2], made[0]]
    assert refs(listed(api, key=api.foreign_key, subject=ANN)) == []
    record = api.call("GET", f"/v1/invocations/{made[0]}", key=api.operator_key)
    for shown in (rows, record):
        assert ANN not in shown.text
        assert "subject" not in shown.text


@pytest.mark.parametrize("subject", [value for value in BAD if isinstance(value, str) and value])
def test_a_filter_by_what_is_no_subject_names_its_parameter(api, subject):
    assert problem(listed(api, subject=subject), 400, "bad_parameter")["errors"][0]["pointer"] == "subject"
    body = {"filter": {"subject": subject}, "dryRun": True}
    refused = problem(api.call("POST", "/v1/replays", key=api.operator_key, json=body), 422, "request_rejected")
    assert refused["errors"][0]["pointer"] == "/filter/subject"


def test_a_replay_takes_what_concerns_its_subject(fresh_api):
    api = fresh_api
    made = [
        api.trigger(body={"subject": subject}, prefer="respond-async").json()["referenceId"]
        for subject in (ANN, BOB, ANN)
    ]
    api.settle(made, status=503)
    body = {"filter": {"subject": ANN}}
    dry = api.call("POST", "/v1/replays", key=api.operator_key, json=body | {"dryRun": True})
    assert dry.json()["matched"] == 2
    started = api.call("POST", "/v1/replays", key=api.operator_key, json=body)
    assert started.json()["matched"] == 2
    shown = api.call("GET", f"/v1/replays/{started.json()['replayId']}", key=api.operator_key)
    assert shown.json()["filter"]["subject"] is True
    assert ANN not in shown.text


NARROWER = [
    ({"status": [503]}, [1]),
    ({"status": ["5xx", 404]}, [0, 1]),
    ({"outcome": "answered", "status": [404]}, [0]),
    ({"states": ["unreachable"]}, []),
    ({"webhookId": "read"}, []),
    ({"since": "2999-01-01T00:00:00Z"}, []),
    ({"until": "2001-01-01T00:00:00Z"}, []),
]


def test_a_replay_by_subject_and_another_filter_takes_what_fits_both(fresh_api):
    api = fresh_api
    for subject, status in ((ANN, 404), (ANN, 503), (BOB, 404), (BOB, 503)):
        made = api.trigger(body={"subject": subject}, prefer="respond-async").json()["referenceId"]
        api.settle([made], status=status)
    for more, fitting in NARROWER:
        body = {"filter": {"subject": ANN} | more, "dryRun": True}
        plan = api.call("POST", "/v1/replays", key=api.operator_key, json=body).json()
        assert plan["matched"] == len(fitting), more
        assert sorted(group["status"] for group in plan["breakdown"]) == [(404, 503)[each] for each in fitting], more


def test_an_idempotency_key_is_for_one_subject(api):
    key = {"Idempotency-Key": new_reference_id()}
    first = api.trigger(body={"subject": ANN}, prefer="respond-async", headers=key).json()
    again = api.trigger(body={"subject": ANN}, prefer="respond-async", headers=key).json()
    assert again["referenceId"] == first["referenceId"]
    for other in ({"subject": BOB}, {}):
        answered = api.trigger(body=other, prefer="respond-async", headers=key)
        problem(answered, 422, "idempotency_key_reused")
