"""Every request with a key has one entry in the audit trail: of the script that acts for it, or in a count."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from relay.audit.entry import entry_from
from relay.domain.reference_id import UUID_PATTERN, new_reference_id
from relay.store.keys.names import ROOT, SHARED_ROOT
from relay.store.trail.trail import Trail
from tests.unit.cli import a_webhook
from tests.unit.test_api_in_process import REF, Api

UNKNOWN = "/v1/replays/01890000-0000-7000-8000-000000000000"
TRIGGER, MANY = "/v1/webhooks/ping/trigger", "/v1/triggers"
#: An id as new as those of records that are kept, and a wish to wait.
NEVER, WAIT = new_reference_id("acme"), {"Prefer": "wait=60"}
REFUSED = {"idempotencyKey": "", "webhookId": "ping"}
#: Requests, and all entries that they leave: act, subject and outcome.
ENTRIES = [
    (("POST", TRIGGER, {}), [("trigger", "ping", "accepted")]),
    (("POST", TRIGGER, {"nothing": 1}), [("trigger", "ping", "request_rejected")]),
    (("POST", "/v1/webhooks/nothing/trigger", {}), [("trigger", "nothing", "webhook_not_registered")]),
    (("POST", TRIGGER, []), [("trigger", "ping", "request_rejected")]),
    (("POST", TRIGGER, None), [("trigger", "", "malformed_json")]),
    (("POST", MANY, [{"webhookId": "ping"}]), [("trigger", "ping", "accepted")]),
    (("POST", MANY, [REFUSED]), [("trigger", "", "bad_parameter")]),
    (
        ("POST", MANY, [REFUSED, {"webhookId": "ping"}]),
        [("trigger", "", "bad_parameter"), ("trigger", "ping", "accepted")],
    ),
    (("POST", MANY, []), [("trigger", "", "done")]),
    (("POST", MANY, {}), [("trigger", "", "malformed_json")]),
    (("GET", f"/v1/invocations/{REF}"), [("look_up", "", "not_found")]),
    (("GET", f"/v1/invocations/{REF}", WAIT), [("look_up", "", "not_found")]),
    (("GET", f"/v1/invocations/{NEVER}", WAIT), [("look_up", "", "not_found")]),
    (("GET", f"/v1/invocations/{REF}/request"), [("look_up", "", "not_found")]),
    (("GET", "/v1/invocations?limit=0"), [("request", "GET:/v1/invocations", "bad_parameter")]),
    (("GET", "/v1/traffic"), [("request", "GET:/v1/traffic", "done")]),
    (("GET", "/v1/webhooks/ping"), [("request", "GET:/v1/webhooks/{webhook_id}", "done")]),
    (("POST", "/v1/webhooks/ping/pause"), [("webhook_pause", "ping", "paused")]),
    (("POST", "/v1/webhooks/ping/resume"), [("webhook_resume", "ping", "resumed")]),
    (("POST", "/v1/webhooks/ping/close-breaker"), [("webhook_close_breaker", "ping", "unchanged")]),
    (("POST", "/v1/replays", {"filter": {}, "dryRun": True}), [("replay_plan", "", "done")]),
    (("POST", "/v1/replays", {"filter": {}}), [("replay_start", "id", "started")]),
    (("POST", "/v1/replays", {}), [("request", "POST:/v1/replays", "request_rejected")]),
    (("POST", f"{UNKNOWN}/pause"), [("replay_pause", "id", "not_found")]),
    (("POST", f"{UNKNOWN}/resume"), [("replay_resume", "id", "not_found")]),
    (("POST", f"{UNKNOWN}/cancel"), [("replay_cancel", "id", "not_found")]),
    (("GET", UNKNOWN), [("request", "GET:/v1/replays/{replay_id}", "not_found")]),
]


@pytest.fixture
def api(cli, valkey):
    cli.apply(a_webhook())
    made = Api(valkey.tcp_url, **cli.environ | {"RELAY_DEFAULT_WAIT": "0"})
    yield made
    made.runtime.close()


def test_a_request_leaves_one_entry_and_a_list_also_one_for_its_refused_items(api):
    key, row = api.runtime.api_keys.create("acme", ["trigger", "operate"])
    read, left = Counter(), []
    for request, _ in ENTRIES:
        call(api, key, *request)
        api.counts.write()
        left.append((request, sorted(new_entries(api, row.id, read))))
    assert left == ENTRIES


def call(api, key, method, path, *body):
    """Send a request, perhaps with a body: a JSON value, or None for what is no JSON. A GET has headers instead."""
    if method == "GET":
        api.call(path, key=key, **dict(*body))
        return
    content = (
        {"body": "{" if body == (None,) else json.dumps(*body), "Content_Type": "application/json"} if body else {}
    )
    api.call(path, method, key=key, **content)


def new_entries(api, who, read):
    """Yield act, subject and outcome of each entry since ``read``, which counts the entries of each trail."""
    for root in (ROOT, SHARED_ROOT):
        entries = Trail(api.runtime.client, root).after(read[root])
        read[root] += len(entries)
        for entry in (entry_from(raw) for _, raw in entries):
            if entry.who == who:
                subject = "id" if UUID_PATTERN.match(entry.subject) else entry.subject
                yield from [(entry.act, subject, entry.outcome)] * (entry.count or 1)
