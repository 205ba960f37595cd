"""One API and one worker per lane group under load: each caller gets its own answer, even beside a long backlog."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import requests
from dotenv import dotenv_values

from tests.conftest import own_valkey
from tests.e2e.harness import open_harness
from tests.integration.api_harness import environ_for, running_api
from tests.receivers import raw_answer
from tests.timing import ANSWER_S

CALLERS = 64
CALLS_EACH = 10
BACKLOG = 20_000
BULK_ITEMS = 1_000
MEMBERS = ["referenceId", "status", "data", "error"]


def tells_its_query(connection, request):
    told = json.dumps({"query": request.target.partition("?")[2], "body": request.body.decode()})
    connection.send(raw_answer(200, told.encode(), ("Content-Type", "application/json")))


#: The slow requests that the endpoint has not answered yet.
in_hand = set()


@pytest.fixture(scope="module")
def busy():
    """A separate harness, because it ends with a backlog of calls that are dropped with it."""
    with open_harness(RELAY_STOP_TIMEOUT="1") as harness:
        released = harness.site.served.stopped

        def takes_its_time(connection, request):
            in_hand.add(request)
            released.wait(30)
            in_hand.discard(request)
            connection.send(raw_answer(200, b""))

        webhooks = [
            {
                "id": "quick",
                "url": harness.site.page("/quick", tells_its_query),
                "method": "POST",
                "queryParams": ["n"],
            },
            {"id": "slow", "url": harness.site.page("/slow", takes_its_time), "method": "POST", "timeout": 60},
        ]
        yield harness.plugin("busy", webhooks)


def callers_answers(plugin, label):
    """Let 64 callers make calls, each with a different text; return (text, answer, seconds) of each."""

    def calls_of(caller):
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {plugin.key}"
            for number in range(CALLS_EACH):
                text = f"{label}-{caller}-{number}"
                begun_s = time.monotonic()
                value = {"data": {"text": text}, "queryParams": {"n": text}}
                answered = session.post(f"{plugin.harness.url}/v1/webhooks/quick/trigger", json=value, timeout=60)
                assert answered.status_code == 200, answered.text
                yield text, answered.json(), time.monotonic() - begun_s

    with ThreadPoolExecutor(CALLERS) as callers:
        return [each for calls in callers.map(lambda caller: list(calls_of(caller)), range(CALLERS)) for each in calls]


def assert_each_its_own(answers):
    assert len(answers) == CALLERS * CALLS_EACH
    for text, answer, _ in answers:
        assert list(answer) == MEMBERS
        assert (answer["status"], answer["error"]) == (200, False)
        assert answer["data"] == {"query": f"n={text}", "body": json.dumps({"text": text}, separators=(",", ":"))}
    assert len({answer["referenceId"] for _, answer, _ in answers}) == len(answers)


def assert_each_sent_once(plugin, answers):
    receipts = plugin.harness.site.served.receipts
    assert {receipts[answer["referenceId"]] for _, answer, _ in answers} == {1}


def test_sixty_four_awaited_callers_each_get_their_own_answer(busy):
    answers = callers_answers(busy, "alone")
    assert_each_its_own(answers)
    assert_each_sent_once(busy, answers)


def test_twenty_thousand_waiting_triggers_do_not_hold_up_awaited_callers(busy):
    items = [{"webhookId": "slow", "data": {"n": number}} for number in range(BULK_ITEMS)]
    for _ in range(BACKLOG // BULK_ITEMS):
        accepted = busy.call("POST", "/v1/triggers", json=items).json()
        assert (accepted["accepted"], accepted["rejected"]) == (BULK_ITEMS, 0)

    answers = callers_answers(busy, "beside")
    assert_each_its_own(answers)
    assert_each_sent_once(busy, answers)
    assert waiting(busy) >= BACKLOG - 1_000  # the backlog was there all the time
    slowest_s = max(seconds for _, _, seconds in answers)
    assert slowest_s < 30  # behind the backlog a call would have waited for minutes


def test_what_waits_is_on_its_way_and_shares_its_process_with_others(busy):
    """The slow webhook does not get every slot of the bulk worker."""
    reference_id = busy.trigger("quick", {"queryParams": {"n": "1"}}, prefer="respond-async").json()["referenceId"]
    assert busy.record(reference_id, wait_s=30)["state"] == "delivered"
    assert 200 < len(in_hand) < 512


def waiting(plugin):
    written = dotenv_values(plugin.harness.relay.data_dir / "relay.env")
    with redis.Redis.from_url(written["RELAY_REDIS_URL"], socket_timeout=ANSWER_S) as client:
        return int(client.hget("relay:{0}:pending", "count"))


@pytest.fixture(scope="module")
def unread():
    """An API without workers."""
    with (
        own_valkey(appendonly="yes", appendfsync="always") as server,
        running_api(environ_for(f"redis://127.0.0.1:{server.port}/0")) as api,
    ):
        yield api


def waiting_in(unread, lane):
    """Return how many messages are on a lane, and the reference ids that wait in it, oldest first."""
    bodies = [json.loads(message)["body"] for message in unread.queue.lrange(lane, 0, -1)]
    decoded = [json.loads(base64.b64decode(body)) for body in bodies]
    assert all((args, kwargs) == ([lane, 0], {}) for args, kwargs, _ in decoded)  # nothing that names a call
    return len(decoded), unread.store.waiting.take(0, [lane], most=10_000).reference_ids


@pytest.mark.parametrize(("prefer", "lane"), [("wait=1", "interactive"), ("respond-async", "bulk")])
def test_each_call_of_many_callers_waits_once_behind_one_message(unread, prefer, lane):
    unread.drain()
    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(lambda _: unread.trigger(prefer=prefer), range(CALLERS * 2)))
    assert {each.status_code for each in answers} == {202}
    messages, waiting = waiting_in(unread, lane)
    assert sorted(waiting) == sorted(each.json()["referenceId"] for each in answers)
    assert messages == 1


def test_many_at_once_wait_in_their_order_behind_a_message_for_every_128(unread):
    unread.drain()
    items = [{"webhookId": "order", "data": {"n": number}} for number in range(1_000)]
    accepted = unread.call("POST", "/v1/triggers", json=items).json()
    messages, waiting = waiting_in(unread, "bulk")
    assert waiting == [each["referenceId"] for each in accepted["results"]]  # the oldest is taken first
    assert messages == 8
