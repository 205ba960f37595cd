import time

import jsonschema_rs
import pytest

from api.overview import MAX_GROUPS
from api.reference.document import make_document
from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.store.ledger.transitions import Settlement
from relay.text.timestamps import read_rfc3339, rfc3339
from tests.integration.test_api_listing import accepted
from tests.integration.test_api_triggers import problem

DOCUMENT = make_document()


def told(api, path, schema, **query):
    answer = api.call("GET", path, key=api.operator_key, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    jsonschema_rs.validator_for({**DOCUMENT, "$ref": f"#/components/schemas/{schema}"}).validate(answer.json())
    return answer.json()


@pytest.fixture
def story(fresh_api):
    """Six invocations of two webhooks: delivered, two of 503, unreachable, queued, rejected."""
    api = fresh_api
    made = [accepted(api), accepted(api), accepted(api), accepted(api, "read"), accepted(api)]
    api.settle([made[0]])
    api.settle(made[1:3], status=503)
    api.settle([made[3]], status=0, outcome=Outcome.CONNECT_TIMEOUT, state=State.UNREACHABLE)
    api.trigger(body={"headers": {"X-Unknown": "1"}})
    return api


def test_stats_count_each_minute_and_leave_none_out(story):
    buckets = told(story, "/v1/stats", "Stats")["buckets"]
    starts = [read_rfc3339(bucket["start"]) for bucket in buckets]
    assert starts == list(range(starts[0], starts[0] + 61 * 60_000, 60_000))
    assert sum(bucket["accepted"] for bucket in buckets) == 5
    ends = {state: sum(bucket["final"][state] for bucket in buckets) for state in buckets[0]["final"]}
    assert ends == {"delivered": 3, "unreachable": 1, "interrupted": 0, "rejected": 1, "cancelled": 0}
    assert sum(bucket["errors"] for bucket in buckets) == 3
    ended = [bucket for bucket in buckets if bucket["final"]["delivered"]]
    assert all(0 <= bucket["p50Ms"] <= bucket["p95Ms"] <= bucket["p99Ms"] for bucket in ended)
    assert buckets[0]["p50Ms"] is None


def test_stats_of_one_webhook_are_its_own(story):
    buckets = told(story, "/v1/stats", "Stats", webhookId="read")["buckets"]
    assert sum(bucket["accepted"] for bucket in buckets) == 1
    assert told(story, "/v1/stats", "Stats", webhookId="gone")["buckets"][-1]["accepted"] == 0


def test_stats_go_back_a_day_at_most(story):
    assert len(told(story, "/v1/stats", "Stats", since="2020-01-01T00:00:00Z")["buckets"]) == 24 * 60
    now_ms = int(time.time() * 1000)
    assert len(told(story, "/v1/stats", "Stats", since=rfc3339(now_ms))["buckets"]) in {1, 2}


def test_groups_are_what_failed_alike(story):
    groups = told(story, "/v1/groups", "Groups")
    assert [(each["webhookId"], each["outcome"], each["status"], each["count"]) for each in groups["groups"]] == [
        ("order", "answered", 503, 2),
        ("read", "connect_timeout", 0, 1),
    ]
    assert groups["complete"]
    assert [each["count"] for each in told(story, "/v1/groups", "Groups", webhookId="read")["groups"]] == [1]
    in_a_minute = rfc3339(int(time.time() * 1000) + 60_000)
    assert told(story, "/v1/groups", "Groups", since=in_a_minute)["groups"] == []


def test_traffic_shows_every_registered_webhook(story):
    report = told(story, "/v1/traffic", "TrafficReport")
    now_h = int(time.time() // 3600)
    assert report["plugin"] == "acme"
    assert read_rfc3339(report["since"]) // 3_600_000 in {
        now_h - 24,
        now_h - 25,
    }  # of the hour before, until now_h was read
    assert read_rfc3339(report["since"]) % 3_600_000 == 0
    webhooks = {each["webhookId"]: each for each in report["webhooks"]}
    assert sorted(webhooks) == list(webhooks)
    assert set(webhooks) >= {"order", "read", "inner"}
    assert (webhooks["order"]["accepted"], webhooks["order"]["final"]["delivered"]) == (4, 3)
    assert webhooks["read"]["errors"] == 1
    assert webhooks["inner"]["hidden"]
    order = webhooks["order"]
    assert (order["recent"]["fiveMinutes"]["errors"], order["recent"]["hour"]["accepted"]) == (2, 4)
    assert [(len(order["trend"][name]["ended"]), sum(order["trend"][name]["errors"])) for name in ("hour", "day")] == [
        (12, 2),
        (25, 2),
    ]
    assert 0 <= time.time() * 1000 - read_rfc3339(order["lastErrorAt"]) < 180_000
    assert webhooks["inner"]["lastErrorAt"] is None


def test_a_webhook_is_paused_and_let_go_again(story):
    def steered(action):
        answer = story.call("POST", f"/v1/webhooks/order/{action}", key=story.operator_key)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert steered("pause")["paused"]
    assert steered("pause")["paused"]
    ref = accepted(story)
    story.drain()
    assert story.store.claim([ref], "t").parked == {ref}
    assert steered("close-breaker")["parked"] == 1
    assert not steered("resume")["paused"]
    assert ref in story.taken(["bulk"])


def test_a_breaker_is_shown_and_closed(story):
    refs = [accepted(story) for _ in range(20)]
    story.store.claim(refs, "t")
    attempt = Attempt(1, 1_700_000_000_000, 5, 0, Outcome.CONNECT_FAILED, Sent.NO)
    ending = (State.UNREACHABLE, Outcome.CONNECT_FAILED, 0, True, attempt)
    story.store.settle([Settlement(ref, "t", *ending, contacted=False) for ref in refs])
    webhooks = {each["webhookId"]: each for each in told(story, "/v1/traffic", "TrafficReport")["webhooks"]}
    assert webhooks["order"]["breaker"]["state"] == "open"
    assert read_rfc3339(webhooks["order"]["breaker"]["openUntil"]) > time.time() * 1000
    answer = story.call("POST", "/v1/webhooks/order/close-breaker", key=story.operator_key)
    assert answer.json()["breaker"] == {"state": "closed", "failures": 0, "openUntil": None}


PATHS = [("GET", "/v1/stats"), ("GET", "/v1/groups"), ("GET", "/v1/traffic")] + [
    ("POST", f"/v1/webhooks/order/{action}") for action in ("pause", "resume", "close-breaker")
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_a_plugin_s_own_key_sees_and_steers_none_of_it(api, method, path):
    create = "relay keys create --scope operate --plugin acme"
    lacking = f"This key lacks the scope operate: create one that has it with `{create}`."
    assert problem(api.call(method, path), 403, "forbidden")["detail"] == lacking


@pytest.mark.parametrize("webhook", ["gone", "theirs", "Not%20an%20id"])
@pytest.mark.parametrize("action", ["pause", "resume", "close-breaker"])
def test_what_is_not_registered_for_the_plugin_cannot_be_steered(api, webhook, action):
    answer = api.call("POST", f"/v1/webhooks/{webhook}/{action}", key=api.operator_key)
    assert problem(answer, 404, "webhook_not_registered")


def test_a_parameter_that_is_wrong_is_named(api):
    answer = api.call("GET", "/v1/stats", key=api.operator_key, params={"since": "yesterday", "webhookId": "!"})
    assert {fault["pointer"] for fault in problem(answer, 400, "bad_parameter")["errors"]} == {"since", "webhookId"}


def test_lanes_tell_what_waited_in_each_minute_where_it_is_asked(story):
    story.beat("w1", "bulk")
    since = rfc3339(int(time.time() * 1000) - 120_000)
    minutes = told(story, "/v1/lanes", "Lanes", since=since)["minutes"]
    assert len(minutes) in {3, 4}
    assert minutes[-1]["pending"].keys() == {"interactive", "bulk", "replay"}
    assert "minutes" not in told(story, "/v1/lanes", "Lanes")
    problem(story.call("GET", "/v1/lanes?since=noon", key=story.operator_key), 400, "bad_parameter")


@pytest.mark.parametrize("beyond", [0, 1])
def test_an_answer_has_the_most_frequent_groups_and_says_whether_these_are_all(fresh_api, beyond):
    statuses = list(range(400, 400 + MAX_GROUPS + beyond))
    for status in (*statuses, *statuses[1:]):
        fresh_api.settle([fresh_api.trigger(prefer="respond-async").json()["referenceId"]], status=status)
    found = fresh_api.call("GET", "/v1/groups", key=fresh_api.operator_key).json()
    assert found["complete"] == (beyond == 0)
    assert len(found["groups"]) == MAX_GROUPS
    assert [each["count"] for each in found["groups"]] == [2] * (MAX_GROUPS - 1 + beyond) + [1] * (1 - beyond)
