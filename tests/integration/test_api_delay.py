"""The member `delay` of a trigger over HTTP: checked, never waited for, shown."""

from datetime import datetime

import pytest

from relay.queue import LANES
from tests.integration.test_api_triggers import problem

MAX_DELAY_S = 2_592_000


def seconds_between(record):
    later, earlier = (datetime.fromisoformat(record[name]) for name in ("notBefore", "createdAt"))
    return (later - earlier).total_seconds()


@pytest.mark.parametrize("delay", [0.5, 1, 86_400, MAX_DELAY_S])
@pytest.mark.parametrize("prefer", [None, "wait=10"])
def test_a_delayed_trigger_is_accepted_whatever_is_preferred_and_shows_its_time(api, delay, prefer):
    answer = api.trigger(body={"data": {"a": 1}, "delay": delay}, **({"prefer": prefer} if prefer else {}))
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    record = api.call("GET", answer.headers["Location"]).json()
    assert record["state"] == "queued"
    assert seconds_between(record) == delay
    assert sum(map(api.queue.llen, LANES)) == 0


@pytest.mark.parametrize("delay", [-1, -0.001, MAX_DELAY_S + 1, "5", True, [1], {"s": 1}, 1e300])
def test_an_invalid_delay_is_refused_by_name(api, delay):
    document = problem(api.trigger(body={"data": {"a": 1}, "delay": delay}), 422, "request_rejected")
    assert [fault["pointer"] for fault in document["errors"]] == ["/delay"]
    assert str(MAX_DELAY_S) in document["errors"][0]["message"]


@pytest.mark.parametrize("delay", [0, 0.0])
@pytest.mark.parametrize("prefer", [None, "wait=10"])
def test_a_delay_of_nothing_is_not_waited_for_either(api, delay, prefer):
    answer = api.trigger(body={"data": {"a": 1}, "delay": delay}, **({"prefer": prefer} if prefer else {}))
    assert answer.status_code == 202
    assert api.taken(["bulk"], wait_s=1.0) == [answer.json()["referenceId"]]


def test_a_delay_of_null_is_like_none_given(api):
    with api.hand_worker():
        assert api.trigger(body={"data": {"a": 1}, "delay": None}).status_code == 200


def test_items_of_a_list_have_delays_of_their_own(api):
    items = [{"webhookId": "order", "delay": 60}, {"webhookId": "order"}, {"webhookId": "order", "delay": -1}]
    results = api.call("POST", "/v1/triggers", json=items).json()["results"]
    assert results[2]["problem"]["errors"][0]["pointer"] == "/delay"
    assert api.taken(["bulk"], wait_s=1.0) == [results[1]["referenceId"]]
    record = api.call("GET", f"/v1/invocations/{results[0]['referenceId']}").json()
    assert (record["state"], seconds_between(record)) == ("queued", 60)
