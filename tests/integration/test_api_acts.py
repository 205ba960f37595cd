"""Every route that takes a key leaves an audit entry, done or refused, even if its target does not exist."""

from __future__ import annotations

from collections import Counter

import pytest

from api.reference.document import make_document
from relay.audit.entry import Act
from relay.domain.reference_id import new_reference_id
from tests.integration.test_api_audit import entries
from tests.integration.test_api_listing import accepted
from tests.timing import wait_until

#: Maps an operation to the act of a successful request. Counted acts have the name `request` and their route.
ACTS = {
    "triggerWebhook": Act.TRIGGER,
    "triggerMany": Act.TRIGGER,
    "listWebhooks": Act.REQUEST,
    "getWebhook": Act.REQUEST,
    "getWebhookTypes": Act.REQUEST,
    "getInvocation": Act.LOOK_UP,
    "getOutline": Act.LOOK_UP,
    "listInvocations": Act.REQUEST,
    "startReplay": Act.REPLAY_START,
    "listReplays": Act.REQUEST,
    "getReplay": Act.REQUEST,
    "pauseReplay": Act.REPLAY_PAUSE,
    "resumeReplay": Act.REPLAY_RESUME,
    "cancelReplay": Act.REPLAY_CANCEL,
    "getStats": Act.REQUEST,
    "getGroups": Act.REQUEST,
    "getTraffic": Act.REQUEST,
    "getLanes": Act.REQUEST,
    "getMetrics": Act.REQUEST,
    "pauseWebhook": Act.WEBHOOK_PAUSE,
    "resumeWebhook": Act.WEBHOOK_RESUME,
    "closeBreakerOfWebhook": Act.WEBHOOK_CLOSE_BREAKER,
}
BODIES = {
    "triggerWebhook": {"data": {}},
    "triggerMany": [{"webhookId": "order"}],
    "startReplay": {"filter": {"webhookId": "order"}},
}
OPERATIONS = {
    operation["operationId"]: (path, method, [scope for each in operation["security"] for scope in each["key"]])
    for path, item in make_document()["paths"].items()
    for method, operation in item.items()
    if operation.get("security")
}


class Asked:
    """Requests, each with its own key, by which its audit entries are found."""

    def __init__(self, api):
        self.api = api
        self.expected = {}  # by key id: operation, and outcome (None: not refused)

    def ask(self, name, scopes, outcome, **places):
        path, method, _ = OPERATIONS[name]
        key, row = self.api.runtime.api_keys.create("acme", scopes)
        headers = {"Prefer": "respond-async"} if name == "triggerWebhook" else {}
        answer = self.api.call(method.upper(), path.format(**places), key=key, headers=headers, json=BODIES.get(name))
        assert (answer.status_code < 400) == (outcome is None), (name, answer.text)
        self.expected[row.id] = (name, outcome)

    def found(self):
        """Return, by key id, the acts, outcomes and subjects of its entries."""
        by_key = {}
        for each in entries(self.api):
            if each.who in self.expected:
                by_key.setdefault(each.who, []).append((each.act, each.outcome, each.subject))
        return by_key

    def await_all(self):
        wait_until(lambda: set(self.found()) == set(self.expected), 20)
        return [(*self.expected[key], rows) for key, rows in self.found().items()]


@pytest.fixture
def asked(fresh_api):
    fresh_api.beat("w1", "interactive")
    return Asked(fresh_api)


def standing(api):
    """Existing values for the parameters of every path."""
    ref = accepted(api, "read")
    api.settle([ref], status=500)
    job = api.call("POST", "/v1/replays", key=api.operator_key, json={"referenceIds": [ref]}).json()
    return {"webhookId": "order", "referenceId": ref, "replayId": job["replayId"]}


def test_every_operation_with_a_key_has_its_act():
    assert set(ACTS) == set(OPERATIONS)


def test_what_is_done_leaves_its_act(asked):
    places = standing(asked.api)
    for name, (_, _, scopes) in OPERATIONS.items():
        asked.ask(name, scopes, None, **places)
    for name, _, rows in asked.await_all():
        path, method, _ = OPERATIONS[name]
        assert [act for act, _, _ in rows] == [ACTS[name]], name
        if ACTS[name] is Act.REQUEST:
            route = rows[0][2].replace("_id}", "Id}")
            assert (rows[0][1], route) == ("done", f"{method.upper()}:{path}")


def test_what_a_key_may_not_do_leaves_an_act(asked):
    every = {"trigger", "operate", "metrics"}
    for name, (_, _, scopes) in OPERATIONS.items():
        if others := every - set(scopes):
            asked.ask(name, sorted(others)[:1], "forbidden", webhookId="order", referenceId="x", replayId="x")
    for name, outcome, rows in asked.await_all():
        assert [each for _, each, _ in rows] == [outcome], name


@pytest.mark.parametrize("malformed", [False, True], ids=["unknown", "malformed"])
def test_what_is_not_there_leaves_an_act_with_the_error_s_code(asked, malformed):
    places = {
        "webhookId": "No-Such" if malformed else "no-such",
        "referenceId": "x" if malformed else new_reference_id("acme"),
        "replayId": "x" if malformed else new_reference_id("acme"),
    }
    for name, (path, _, scopes) in OPERATIONS.items():
        if "{" in path:
            code = "webhook_not_registered" if "webhookId" in path else "not_found"
            asked.ask(name, scopes, code, **places)
    for name, outcome, rows in asked.await_all():
        assert [each for _, each, _ in rows] == [outcome], name


def test_each_item_of_a_bulk_request_is_found_or_counted_with_its_outcome(asked):
    api = asked.api
    key, row = api.runtime.api_keys.create("acme", ["trigger"])
    items = [
        {"webhookId": "order"},
        {"webhookId": "no-such"},
        {"webhookId": "order", "headers": {"X-No": "1"}},
        {"webhookId": "order", "idempotencyKey": "k"},
        {"webhookId": "order", "idempotencyKey": "k", "data": {"n": 1}},
        {"webhookId": "order", "idempotencyKey": ""},
        3,
        4,
    ]
    api.call("POST", "/v1/triggers", key=key, json=items)
    wanted = {
        "accepted": 2,
        "webhook_not_registered": 1,
        "request_rejected": 4,  # a reused Idempotency-Key also leaves a rejected record
        "bad_parameter": 1,
    }

    def counted():
        found = Counter()
        for each in entries(api, Act.TRIGGER):
            if each.who == row.id:
                found[each.outcome] += each.count
        return found

    wait_until(lambda: sum(counted().values()) >= len(items), 20)
    assert counted() == wanted


def test_a_reused_idempotency_key_leaves_an_act(asked):
    api = asked.api
    key, row = api.runtime.api_keys.create("acme", ["trigger"])
    for n in (1, 2):
        headers = {"Idempotency-Key": "one"}
        api.trigger(prefer="respond-async", key=key, headers=headers, body={"data": {"n": n}})
    found = [each.outcome for each in entries(api, Act.TRIGGER) if each.who == row.id]
    assert found == ["accepted", "request_rejected"]


def test_a_method_that_a_route_does_not_have_leaves_an_act(asked):
    api = asked.api
    for path in sorted({path for path, _, _ in OPERATIONS.values()}):
        key, row = api.runtime.api_keys.create("acme", ["trigger", "operate", "metrics"])
        answer = api.call("PATCH", path.format(webhookId="order", referenceId="x", replayId="x"), key=key)
        assert answer.status_code == 405
        asked.expected[row.id] = (path, "method_not_allowed")
    for path, outcome, rows in asked.await_all():
        assert [each for _, each, _ in rows] == [outcome], path


def test_a_request_to_an_unknown_address_leaves_no_audit_entry(asked):
    """On such an address no key is checked; the log has the request."""
    api = asked.api
    key, row = api.runtime.api_keys.create("acme", ["trigger"])
    assert api.call("GET", "/v1/nothing", key=key).status_code == 404
    assert (
        api.call("GET", "/v1/webhooks/order", key=key).status_code == 200
    )  # written within a second, with all entries before it
    wait_until(lambda: any(each.who == row.id for each in entries(api)), 20)
    assert [each.subject for each in entries(api) if each.who == row.id] == ["GET:/v1/webhooks/{webhook_id}"]
