"""Messages look as Celery writes them, and nobody waits for a broker that is slow or away."""

from __future__ import annotations

import json
import socket
import time
from base64 import b64decode

import fakeredis
import pytest

from relay.errors import StoreFault, Unavailable
from relay.queue import _MOST_AT_ONCE, LANES, RUN, Publisher, make_app
from relay.settings import Settings
from relay.store.keys.keyspace import SINGLE
from relay.store.ledger.waiting import WaitingCalls
from relay.store.scripting.scripts import Scripts
from relay.vault import Vault
from relay.wiring.runtime import cli_runtime
from tests.receivers import closed_port
from tests.timing import wait_until

AT_ONCE_S = 20.0  # waiting for the broker, with repeated tries, would take longer
PUBLISHED_S = 30.0


@pytest.fixture
def waiting():
    client = fakeredis.FakeRedis()
    return WaitingCalls(client, Scripts(client), SINGLE)


@pytest.fixture
def publisher_of(waiting):
    made = []

    def publisher_of(broker_url, **options):
        app = make_app(Settings.from_environ({"RELAY_REDIS_URL": broker_url}))
        made.append(Publisher(app, waiting, **options))
        return made[-1]

    yield publisher_of
    for each in made:
        each.close()


@pytest.fixture
def frozen():
    """The address of a broker that takes connections, and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


def refs_in(waiting, lane):
    return waiting.take(0, [lane], most=100).reference_ids


@pytest.mark.parametrize("state", ["away", "frozen"])
def test_nobody_waits_for_the_broker_and_the_calls_wait_in_the_store(publisher_of, waiting, frozen, state):
    publisher = publisher_of(frozen if state == "frozen" else f"redis://127.0.0.1:{closed_port()}/0")
    started_s = time.monotonic()
    for number in range(1_000):
        publisher.publish_ready(((f"a{number}", "bulk"), (f"b{number}", "interactive")))
        publisher.announce([("replay", 0)])
    assert time.monotonic() - started_s < AT_ONCE_S
    assert len(refs_in(waiting, "bulk")) == len(refs_in(waiting, "interactive")) == 100
    if state == "away":
        assert publisher.depths() == {}


@pytest.mark.parametrize("error", [Unavailable(), StoreFault()])
def test_calls_that_cannot_be_put_into_the_store_now_are_left_to_a_sweep(publisher_of, waiting, monkeypatch, error):
    def queue(*_):
        raise error

    monkeypatch.setattr(waiting, "queue", queue)
    publisher = publisher_of(f"redis://127.0.0.1:{closed_port()}/0")
    publisher.publish_ready((("a", "bulk"),))
    assert not publisher._wanted


def test_what_is_kept_for_a_broker_that_is_frozen_is_bounded(publisher_of, frozen):
    publisher = publisher_of(frozen)
    for _ in range(10_000):
        publisher.announce([("bulk", 0), ("bulk", 1)])
    assert len(publisher._wanted) <= 2


def test_messages_are_published_one_for_each_lane_and_partition_asked_for(publisher_of, valkey):
    publisher = publisher_of(valkey.tcp_url)
    publisher.announce([("bulk", 0), ("bulk", 0), ("bulk", 3), ("interactive", 0)])
    wait_until(lambda: publisher.depths() == {"interactive": 1, "bulk": 3, "replay": 0}, PUBLISHED_S)
    with valkey.client() as client:
        asked = sorted(_opened(message)[0][0] for message in client.lrange("bulk", 0, -1))
        client.delete(*LANES)
    assert asked == [["bulk", 0], ["bulk", 0], ["bulk", 3]]


def test_no_more_messages_are_published_together_than_make_workers_faster(publisher_of, valkey):
    publisher = publisher_of(valkey.tcp_url)
    publisher.announce([*[("bulk", 0)] * 1_000, ("bulk", 1)])
    wait_until(lambda: publisher.depths()["bulk"] > _MOST_AT_ONCE, PUBLISHED_S)
    publisher.close()
    with valkey.client() as client:
        assert client.llen("bulk") == _MOST_AT_ONCE + 1
        client.delete(*LANES)


def test_the_end_of_a_process_publishes_what_is_left(publisher_of, valkey):
    publisher = publisher_of(valkey.tcp_url)
    publisher.announce([("bulk", 0)])
    publisher.close()
    with valkey.client() as client:
        assert client.llen("bulk") == 1
        client.delete(*LANES)


def test_a_message_is_what_celery_would_have_written(publisher_of, valkey):
    app = make_app(Settings.from_environ({"RELAY_REDIS_URL": valkey.tcp_url}))
    publisher = publisher_of(valkey.tcp_url)
    publisher.announce([("bulk", 2)])
    wait_until(lambda: publisher.depths()["bulk"] == 1, PUBLISHED_S)
    sent = {"argsrepr": "('bulk', 2)", "kwargsrepr": "{}", "ignore_result": True}
    task = app.amqp.create_task_message("some-id", RUN, ("bulk", 2), {}, **sent)
    with app.producer_pool.acquire() as producer:
        app.amqp.send_task_message(producer, RUN, task, queue="bulk", retry=False, declare=[], serializer="json")
    with valkey.client() as client:
        theirs, ours = (_opened(message) for message in client.lrange("bulk", 0, -1))
        client.delete(*LANES)
    assert ours == theirs


def test_a_script_is_given_the_same_messages_where_it_may_publish_them(publisher_of, valkey):
    assert publisher_of(valkey.tcp_url).messages(["bulk"], 0) == [("bulk", b"")]
    publisher = publisher_of(valkey.tcp_url, in_store=True)
    ((lane, given),) = publisher.messages(["bulk"], 0)
    publisher.announce([("bulk", 0)])
    wait_until(lambda: publisher.depths()["bulk"] == 1, PUBLISHED_S)
    with valkey.client() as client:
        (published,) = client.lrange("bulk", 0, -1)
        client.delete(*LANES)
    assert lane == "bulk"
    assert _opened(given) == _opened(published)


@pytest.mark.parametrize(
    ("more", "in_store"),
    [
        ({}, True),
        ({"RELAY_STORE_URL": "redis://127.0.0.1:6379/0"}, True),
        ({"RELAY_BROKER_URL": "redis://127.0.0.1:6379/1"}, False),
        ({"RELAY_STORE_URL": "redis://somebody:secret@127.0.0.1:6379/0"}, False),  # this user may not see the lanes
    ],
)
def test_a_script_publishes_only_where_broker_and_store_are_one(more, in_store):
    keys = {"RELAY_DATA_KEYS": Vault.new_key_text()}
    environ = {"RELAY_REDIS_URL": "redis://127.0.0.1:6379/0", **keys, **more}
    runtime = cli_runtime(Settings.from_environ(environ))
    runtime.client = fakeredis.FakeRedis()
    ((_, message),) = runtime.publisher.messages(["bulk"], 0)
    assert bool(message) is in_store


def _opened(message):
    """Return a message without its unique parts: its ids, and where it was made."""
    message = json.loads(message)
    body = json.loads(b64decode(message.pop("body")))
    headers, properties = message["headers"], message["properties"]
    own = headers.pop("id")
    assert headers.pop("root_id") == own == properties.pop("correlation_id")
    assert properties.pop("delivery_tag")
    return body, message
