"""A stranger who may write to the broker stops no worker, and has it publish, log and run nothing of what he asks."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest
import redis

from relay.queue import LANES, RUN, Publisher, make_app
from relay.settings import Settings
from tests.cluster.brokers import rabbitmq
from tests.foreign_messages import BOMB_BYTES, PLANTED, foreign_messages
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, receiver
from tests.timing import wait_until

DRAINED_S = 60
EMPTY = dict.fromkeys(LANES, 0)


@pytest.fixture(params=["redis", "rabbitmq"])
def harness(request, tmp_path_factory):
    if request.param == "redis":
        with worker_harness(tmp_path_factory) as harness:
            yield harness
        return
    with rabbitmq() as broker, worker_harness(tmp_path_factory, RELAY_BROKER_URL=broker.url) as harness:
        yield harness


def put(harness, app, message):
    if "RELAY_BROKER_URL" in harness.environ:
        with app.connection() as connection, connection.channel() as channel:
            named = {"content_type": message.content_type, "content_encoding": message.encoding}
            made = channel.prepare_message(message.body, headers=message.headers, properties={}, **named)
            channel.basic_publish(made, exchange="", routing_key="bulk")
        return
    properties = {
        "delivery_tag": message.what,
        "delivery_info": {},
        "body_encoding": "base64",
        "reply_to": "interactive",
    }
    envelope = {"body": b64encode(message.body).decode(), "headers": message.headers, "properties": properties}
    envelope |= {"content-type": message.content_type, "content-encoding": message.encoding}
    with redis.Redis.from_url(harness.environ["RELAY_REDIS_URL"]) as client:
        client.lpush("bulk", json.dumps(envelope))


def test_a_stranger_s_message_is_at_most_a_hint(harness):
    app = make_app(Settings.from_environ(harness.environ))
    publisher = Publisher(app, waiting=None)
    messages = list(foreign_messages(app.signature(RUN, ("interactive", 0), queue="interactive", immutable=True)))
    # This declares the lanes, which the worker may do later: RabbitMQ drops what is for a queue that does not exist.
    wait_until(lambda: publisher.depths() == EMPTY)
    worker = harness.start_worker("bulk")
    for message in messages:
        put(harness, app, message)
    dropped = [message.what for message in messages if not message.is_hint]
    wait_until(lambda: harness.log.read_text().count("message_dropped") >= len(dropped), DRAINED_S)
    with receiver(json_answer({"ok": True})) as endpoint:
        harness.register(hook(endpoint.url))
        assert harness.final(harness.trigger()).state.value == "delivered"
    log = harness.log.read_text()
    assert log.count("message_dropped") == len(dropped)
    assert PLANTED not in log
    wait_until(lambda: publisher.depths() == EMPTY)
    assert worker.poll() is None
    peak = Path(f"/proc/{worker.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    assert int(peak) * 1024 < BOMB_BYTES
