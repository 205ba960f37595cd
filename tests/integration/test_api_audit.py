"""Every request with a key leaves an entry in the audit trail; failed authentications are counted."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from relay.audit.entry import entry_from
from relay.store.keys.names import SHARED_ROOT
from relay.store.trail.trail import Trail
from tests.integration.api_harness import environ_for, running_api
from tests.timing import wait_until


def entries(api, *acts):
    client = api.runtime.client
    found = [entry_from(raw) for trail in (Trail(client), Trail(client, SHARED_ROOT)) for _, raw in trail.after(0)]
    assert None not in found
    return [entry for entry in found if not acts or entry.act in acts]


def new_since(api, count, *acts):
    return entries(api, *acts)[count:]


def test_accepted_and_refused_triggers_are_found_by_their_ids(api):
    before = len(entries(api, "trigger"))
    accepted = api.trigger(prefer="respond-async", body={"data": {"planted": "content"}}).json()["referenceId"]
    unknown = api.trigger("no-such", prefer="respond-async").json()["referenceId"]
    rejected = api.trigger(prefer="respond-async", body={"headers": {"X-Foreign": "1"}}).json()["referenceId"]
    found = {each.references[0]: each for each in new_since(api, before, "trigger")}
    assert [found[ref].outcome for ref in (accepted, unknown, rejected)] == [
        *("accepted", "webhook_not_registered", "request_rejected")
    ]
    assert found[accepted].who == api.key_row.id
    assert (found[accepted].plugin, found[accepted].subject, found[accepted].revision) == ("acme", "order", 1)
    assert found[accepted].sizes[0] > 20


def test_a_repeated_trigger_and_a_list_are_found_too(api):
    before = len(entries(api, "trigger"))
    headers = {"Idempotency-Key": f"k-{time.monotonic_ns()}"}
    first = api.trigger(prefer="respond-async", headers=headers).json()["referenceId"]
    assert api.trigger(prefer="respond-async", headers=headers).json()["referenceId"] == first
    body = [{"webhookId": "order", "data": {"n": n}} for n in range(40)]
    results = api.call("POST", "/v1/triggers", json=body).json()["results"]
    found = new_since(api, before, "trigger")
    assert [(each.outcome, each.references) for each in found[:2]] == [("accepted", (first,)), ("known", (first,))]
    assert [ref for each in found[2:] for ref in each.references] == [each["referenceId"] for each in results]
    assert len(found) < 10  # they are written in groups


def test_what_was_refused_at_the_door_is_counted(api):
    before = len(entries(api, "trigger"))
    for _ in range(5):
        api.call("POST", "/v1/webhooks/order/trigger", data=b"{", headers={"Content-Type": "application/json"})

    def count():
        found = [each for each in new_since(api, before, "trigger") if each.outcome == "malformed_json"]
        return sum(each.count for each in found if each.who == api.key_row.id)

    wait_until(lambda: count() == 5, 10)


#: An item of a list for each outcome.
ITEMS = {
    "good": b'{"webhookId": "order"}',
    "request_rejected": b'{"webhookId": 5}',
    "bad_parameter": b'{"webhookId": "order", "idempotencyKey": ""}',
    "malformed_json": b"{",
}


@pytest.mark.parametrize("items", [
    ["request_rejected"],
    ["malformed_json", "malformed_json", "bad_parameter"],
    ["good", "bad_parameter", "request_rejected", "bad_parameter"],
    ["malformed_json", "good", "good"],
], ids=",".join)  # fmt: skip
def test_the_refused_items_of_a_list_are_counted_by_code_beside_good_ones_or_without_any(api, items):
    before = len(entries(api, "trigger"))
    headers = {"Content-Type": "application/x-ndjson"}
    answer = api.call("POST", "/v1/triggers", data=b"\n".join(map(ITEMS.get, items)), headers=headers).json()
    assert [each.get("problem", {}).get("code", "good") for each in answer["results"]] == items

    def counted():
        found = Counter()
        for each in new_since(api, before, "trigger"):
            found["good" if each.outcome == "accepted" else each.outcome] += each.count or len(each.references)
        return found

    wait_until(lambda: counted() == Counter(items), 10)


def test_a_look_up_is_found_before_its_answer(api):
    ref = api.trigger(prefer="respond-async").json()["referenceId"]
    before = len(entries(api, "look_up"))
    api.call("GET", f"/v1/invocations/{ref}")
    api.settle(api.taken(), data={"planted": "answer"})
    api.call("GET", f"/v1/invocations/{ref}", headers={"Prefer": "wait=5"})
    foreign = api.call("GET", f"/v1/invocations/{ref}", key=api.foreign_key)
    assert foreign.status_code == 404
    found = new_since(api, before, "look_up")
    assert [(each.outcome, each.references) for each in found] == [
        *(("queued", (ref,)), ("delivered", (ref,)), ("not_found", (ref,)))
    ]
    assert (bool(found[0].sizes), found[1].sizes[0] > 20, found[2].plugin) == (False, True, "other")


@pytest.mark.parametrize(("method", "path"), [
    *(("GET", "/v1/invocations/{reference_id}"), ("GET", "/v1/invocations/{reference_id}/request")),
    *(("GET", "/v1/replays/{replay_id}"), ("POST", "/v1/replays/{replay_id}/cancel")),
])  # fmt: skip
def test_a_request_with_what_is_no_id_is_counted_without_it(api, method, path):
    before = len(entries(api, "request"))
    asked = path.format(reference_id="No-such-id", replay_id="No-such-id")
    assert api.call(method, asked, key=api.operator_key).status_code == 404

    def counted():
        return {(each.subject, each.outcome) for each in new_since(api, before, "request")}

    wait_until(lambda: (f"{method}:{path}", "not_found") in counted(), 10)
    assert "No-such-id" not in str(entries(api))


def test_steering_and_replays_are_found(api):
    acts = (
        *("webhook_pause", "webhook_resume", "webhook_close_breaker"),
        *("replay_plan", "replay_start", "replay_cancel"),
    )
    before = len(entries(api, *acts))
    for action in ("pause", "resume", "close-breaker"):
        api.call("POST", f"/v1/webhooks/order/{action}", key=api.operator_key)
    api.call("POST", "/v1/replays", key=api.operator_key, json={"filter": {"webhookId": "order"}, "dryRun": True})
    job = api.call("POST", "/v1/replays", key=api.operator_key, json={"filter": {"webhookId": "order"}}).json()
    api.call("POST", f"/v1/replays/{job['replayId']}/cancel", key=api.operator_key)
    assert [each.act for each in new_since(api, before, *acts)] == list(acts)


def test_other_requests_with_a_key_are_counted_and_those_without_a_right(api):
    before = len(entries(api, "request"))
    for _ in range(3):
        api.call("GET", "/v1/invocations", key=api.operator_key)
    api.call("GET", "/v1/invocations")  # the key may trigger only

    def counted():
        found = new_since(api, before, "request")
        return {
            outcome: sum(
                each.count for each in found if (each.subject, each.outcome) == ("GET:/v1/invocations", outcome)
            )
            for outcome in ("done", "forbidden")
        }

    wait_until(lambda: counted() == {"done": 3, "forbidden": 1}, 10)


def test_nothing_that_was_sent_or_answered_is_in_the_trail(api):
    ref = api.trigger(prefer="respond-async", body={"data": {"planted": "content"}}).json()["referenceId"]
    api.settle(api.taken(), data={"planted": "answer"})
    api.call("GET", f"/v1/invocations/{ref}")
    text = "\n".join(each.text() for each in entries(api))
    assert not [word for word in ("planted", "hook.example.com", "whk_", api.key) if word in text]


def test_every_accepted_trigger_is_found_although_the_api_is_killed(valkey):
    """Every trigger answered before kill -9 has its entry, and every entry of an accepted one has its record."""
    with running_api(environ_for(valkey.tcp_url, RELAY_EXTRA_SUFFIXES="test")) as api:
        answered, stop = [], threading.Event()

        def trigger():
            while not stop.is_set():
                try:
                    answered.append(api.trigger(prefer="respond-async").json()["referenceId"])
                except OSError:
                    return
                except json.JSONDecodeError:
                    return

        callers = [threading.Thread(target=trigger) for _ in range(8)]
        for caller in callers:
            caller.start()
        wait_until(lambda: len(answered) > 200, 60)
        (child,) = children_of(api.process.pid)
        for pid in (api.process.pid, child):
            kill(pid)
        stop.set()
        for caller in callers:
            caller.join()
        found = {ref for each in entries(api, "trigger") for ref in each.references}
        assert set(answered) <= found
        assert all(api.store.find(ref) for ref in found)


def test_a_stop_writes_what_was_counted_and_not_yet_written(valkey):
    """Requests without a key are otherwise written once a minute."""
    with running_api(environ_for(valkey.tcp_url, RELAY_EXTRA_SUFFIXES="test")) as api:
        before = len(entries(api, "request", "authenticate"))
        for _ in range(3):
            assert api.call("GET", "/v1/webhooks", key="none").status_code == 401
            assert api.call("GET", "/v1/webhooks").status_code == 200
        api.process.terminate()
        api.process.wait(60)
        found = Counter()
        for each in new_since(api, before, "request", "authenticate"):
            found[each.act, each.outcome] += each.count
    assert found == {("request", "done"): 3, ("authenticate", "unauthenticated"): 3}


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill(pid):
    os.kill(pid, signal.SIGKILL)
