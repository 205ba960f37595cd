import time

import pytest

from relay.domain.invocation import Outcome, State
from relay.text.timestamps import rfc3339
from tests.integration.test_api_triggers import problem

NOBODY = "01a212df-ba71-768c-b6a9-a1f752ce66b7"


def listed(api, key=None, **query):
    return api.call("GET", "/v1/invocations", key=key or api.operator_key, params=query)


def refs(answer):
    assert answer.status_code == 200, answer.text
    return [row["referenceId"] for row in answer.json()["invocations"]]


def accepted(api, webhook="order", **trigger):
    return api.trigger(webhook, body=trigger, prefer="respond-async").json()["referenceId"]


@pytest.fixture
def story(fresh_api):
    """Five invocations of two webhooks, oldest first: delivered, 503, unreachable, queued, rejected."""
    api = fresh_api
    made = [accepted(api), accepted(api), accepted(api, "read"), accepted(api)]
    api.settle([made[0]])
    api.settle([made[1]], status=503)
    api.settle([made[2]], status=0, outcome=Outcome.CONNECT_TIMEOUT, state=State.UNREACHABLE)
    made.append(api.trigger(body={"headers": {"X-Unknown": "1"}}).json()["referenceId"])
    return api, made


def test_a_listing_has_a_plugin_s_invocations_newest_first_without_data(story):
    api, made = story
    answer = listed(api)
    assert refs(answer) == made[::-1]
    assert answer.json()["cursor"] is None
    rows = answer.json()["invocations"]
    assert rows[-1]["result"] == {"status": 200, "error": False}
    assert rows[0]["result"] is None
    assert rows[-1]["caller"] == api.key_row.id
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ({"webhookId": "read"}, [2]),
        ({"state": "queued"}, [3]),
        ({"state": "delivered,unreachable"}, [2, 1, 0]),
        ({"state": ["queued", "rejected"]}, [4, 3]),
        ({"status": "503"}, [1]),
        ({"status": "5xx"}, [1]),
        ({"status": "0"}, [2]),
        ({"status": "2xx,5xx"}, [1, 0]),
        ({"outcome": "connect_timeout"}, [2]),
        ({"failed": "true"}, [2, 1]),
        ({"failed": "true", "webhookId": "order"}, [1]),
        ({"failed": "false"}, [4, 3, 2, 1, 0]),
        ({"outcome": "request_rejected"}, [4]),
        ({"webhookId": "order", "state": "delivered", "status": "200"}, [0]),
        ({"webhookId": "order", "state": "unreachable"}, []),
        ({"caller": "nobody"}, []),
        ({"chain": "01890000-0000-7000-8000-000000000000"}, []),
        ({"replay": "01890000-0000-7000-8000-000000000000"}, []),
        ({"webhookId": "", "state": ""}, [4, 3, 2, 1, 0]),
    ],
)
def test_a_listing_is_filtered(story, query, places):
    api, made = story
    assert refs(listed(api, **query)) == [made[place] for place in places]


def test_a_listing_is_filtered_by_time_and_caller(story):
    api, made = story
    created = [row["createdAt"] for row in listed(api).json()["invocations"]][::-1]
    assert made[4] in refs(listed(api, since=created[3]))
    assert made[0] not in refs(listed(api, since=created[4])) or created[0] == created[4]
    assert refs(listed(api, until=created[0]))[-1] == made[0]
    assert refs(listed(api, since=rfc3339(int(time.time() * 1000) + 60_000))) == []
    assert refs(listed(api, since="1h")) == refs(listed(api, until="0s")) == made[::-1]
    assert refs(listed(api, until="1h")) == refs(listed(api, since="0s")) == []
    assert refs(listed(api, caller=api.key_row.id)) == made[::-1]


def test_pages_follow_each_other_while_records_come(story):
    api, made = story
    first = listed(api, limit=2)
    assert refs(first) == [made[4], made[3]]
    accepted(api)
    found, cursor = [], first.json()["cursor"]
    while cursor:
        page = listed(api, limit=2, cursor=cursor)
        found += refs(page)
        cursor = page.json()["cursor"]
    assert found == [made[2], made[1], made[0]]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"state": "gone"}, "state"),
        ({"state": "queued,"}, "state"),
        ({"status": "6xx"}, "status"),
        ({"status": "99"}, "status"),
        ({"outcome": "failed"}, "outcome"),
        ({"webhookId": "Order"}, "webhookId"),
        ({"webhookId": ["a", "b"]}, "webhookId"),
        ({"caller": "a b"}, "caller"),
        ({"chain": "x"}, "chain"),
        ({"replay": "x"}, "replay"),
        ({"since": "yesterday"}, "since"),
        ({"until": "2026-01-01"}, "until"),
        ({"since": "15"}, "since"),
        ({"since": "1.5h"}, "since"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "\u0661"}, "limit"),
        ({"cursor": "not one"}, "cursor"),
        ({"webhook": "order"}, "webhook"),
        ({"webhook": ""}, "webhook"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"<b>": "order"}, "%3Cb%3E"),
        ({"gr\u00f6\u00dfe": "order"}, "gr%C3%B6%C3%9Fe"),
        ({"$top": "order"}, "$top"),
        ({"a" * 65: "order"}, "a" * 64),
    ],
)
def test_a_parameter_that_is_not_valid_is_named(api, query, pointer):
    document = problem(listed(api, **query), 400, "bad_parameter")
    assert [each["pointer"] for each in document["errors"]] == [pointer]


@pytest.mark.parametrize("path", ["invocations", "replays", "stats", "groups", "lanes"])
@pytest.mark.parametrize(
    ("name", "shown"), [("webhook", "webhook"), ("Limit", "Limit"), ("<b>", "%3Cb%3E"), ("\u00fc", "%C3%BC")]
)
def test_a_parameter_that_is_not_known_is_answered_with_those_that_are(api, path, name, shown):
    answer = api.call("GET", f"/v1/{path}", key=api.operator_key, params={name: "1"})
    (fault,) = problem(answer, 400, "bad_parameter")["errors"]
    assert fault["pointer"] == shown
    known = fault["message"].removeprefix("is not a parameter here: the known ones are ").split(", ")
    wrong = api.call("GET", f"/v1/{path}", key=api.operator_key, params=dict.fromkeys(known, "\u0661\n"))
    assert {each["pointer"] for each in problem(wrong, 400, "bad_parameter")["errors"]} == set(known)


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("POST", "/v1/webhooks/order/trigger", "put it into queryParams"),
        ("POST", "/v1/triggers", "put it into queryParams"),
        ("POST", "/v1/replays", "has none"),
        ("POST", f"/v1/replays/{NOBODY}/pause", "has none"),
        ("POST", "/v1/webhooks/order/pause", "has none"),
        ("GET", "/v1/webhooks", "has none"),
        ("GET", "/v1/webhooks/order", "has none"),
        ("GET", f"/v1/invocations/{NOBODY}", "has none"),
        ("GET", f"/v1/replays/{NOBODY}", "has none"),
        ("GET", "/v1/traffic", "has none"),
        ("GET", "/healthz", "has none"),
        ("GET", "/readyz", "has none"),
        ("GET", "/metrics", "has none"),
    ],
)
@pytest.mark.parametrize("value", ["4", ""])
def test_a_route_without_parameters_refuses_one_and_says_where_it_belongs(api, method, path, hint, value):
    key, _ = api.runtime.api_keys.create("acme", ["trigger", "operate", "metrics"])
    answer = api.call(method, path, key=key, params={"pageNum": value})
    (fault,) = problem(answer, 400, "bad_parameter")["errors"]
    assert fault["pointer"] == "pageNum"
    assert hint in fault["message"]


@pytest.mark.parametrize("path", ["/", "/docs", "/console", "/openapi.json", "/webhooks.js", "/webhooks.d.ts"])
def test_a_page_or_file_may_be_asked_with_any_query(api, path):
    assert api.call("GET", path, params={"v": "2"}).status_code == 200


def test_a_cursor_that_no_page_gave_is_a_bad_parameter(api):
    problem(listed(api, cursor="bm9uZQ"), 400, "bad_parameter")


def test_a_listing_needs_the_scope_operate_and_shows_no_other_plugin_s(story):
    api, _ = story
    problem(listed(api, key=api.key), 403, "forbidden")
    assert refs(listed(api, key=api.foreign_key)) == []
