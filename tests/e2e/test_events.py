"""What calls cost the broker of a relay as shipped: `relay up`, with its API, its workers and Flower."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import requests

from tests.e2e.conftest import open_shop
from tests.e2e.test_flower_pages import auth_of
from tests.timing import ANSWER_S, wait_until

CALLERS = 16
CALLS = 320
PLUGIN = "frugal"


@pytest.fixture(scope="module")
def shop(running_relay, endpoint):
    return open_shop(running_relay, endpoint, PLUGIN)


def flower(shop, path):
    return requests.get(shop.relay.flower_url + path, auth=auth_of(shop.relay), timeout=10).json()


def counts(broker):
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in broker.info("commandstats").items()}


def published(events):
    """Return the content of the messages with events that were published, by routing key."""
    found = defaultdict(list)
    while message := events.get_message(timeout=0.5):
        if message["type"] == "pmessage":
            content = json.loads(b64decode(json.loads(message["data"])["body"]))
            found[message["channel"].decode().rpartition("/")[2]].append(content)
    return found


def call(shop):
    answered = requests.post(
        f"{shop.base_url}/v1/webhooks/echo/trigger",
        json={"data": {}},
        headers={"Authorization": f"Bearer {shop.key}"},
        timeout=60,
    )
    assert answered.status_code == 200, answered.text
    return answered.json()["referenceId"]


def test_a_call_causes_a_message_of_its_lane_and_a_share_of_one_for_flower(shop):
    wait_until(lambda: sum(worker["status"] for worker in flower(shop, "/workers?json=1")["data"]) == 2)
    administrator = (shop.relay.data_dir / "admin.url").read_text().strip()
    with (
        redis.Redis.from_url(administrator, socket_timeout=ANSWER_S) as broker,
        broker.pubsub() as events,
        ThreadPoolExecutor(CALLERS) as callers,
    ):
        events.psubscribe("*celeryev*")
        events.get_message(timeout=10)
        before = counts(broker)
        refs = set(callers.map(lambda _: call(shop), range(CALLS)))
        wait_until(lambda: refs & flower(shop, "/api/tasks?limit=5000").keys(), every_s=0.3)
        spent = {name: calls - before.get(name, 0) for name, calls in counts(broker).items()}
        sent = published(events)

    assert spent["lpush"] <= CALLS
    assert set(sent) <= {"task.multi", "worker.heartbeat"}
    several = sent["task.multi"]
    assert len(several) < CALLS / 4
    told = [event for message in several for event in message if event["uuid"] in refs]
    assert len(told) <= CALLS
    assert {event["name"] for event in told} == {f"{PLUGIN}/echo"}
    # Besides events only notices are published, at most one a call.
    assert spent["publish"] <= CALLS + sum(len(each) for each in sent.values())
