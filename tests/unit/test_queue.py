"""Publishing: messages look as Celery writes them; if the broker is away, publishing fails at once: callers wait."""

from __future__ import annotations

import json
import time
from base64 import b64decode

import pytest

from relay.errors import Unavailable
from relay.queue import RUN, Publisher, make_app
from relay.runtime import cli_runtime
from relay.settings import Settings
from relay.vault import Vault
from tests.receivers import closed_port

AT_ONCE_S = 20.0  # waiting for the broker, with repeated tries, would take longer


@pytest.fixture
def publisher():
    return Publisher(make_app(Settings.from_environ({"RELAY_REDIS_URL": f"redis://127.0.0.1:{closed_port()}/0"})))


def test_a_broker_that_is_away_is_found_out_at_once(publisher):
    started_s = time.monotonic()
    for _ in range(3):
        with pytest.raises(Unavailable):
            publisher.publish("bulk", ["a"])
    assert publisher.depths() == {}
    assert time.monotonic() - started_s < AT_ONCE_S


def test_what_could_not_be_published_is_given_back(publisher):
    ready = (("a", "bulk"), ("b", "interactive"))
    assert sorted(publisher.publish_ready(ready)) == sorted(ready)


def test_a_message_is_what_celery_would_have_written(valkey):
    app = make_app(Settings.from_environ({"RELAY_REDIS_URL": valkey.tcp_url}))
    Publisher(app).publish("bulk", ["a", "b"])
    sent = {"argsrepr": "(2 ids)", "kwargsrepr": "{}", "ignore_result": True}
    task = app.amqp.create_task_message("some-id", RUN, (["a", "b"],), {}, **sent)
    with app.producer_pool.acquire() as producer:
        app.amqp.send_task_message(producer, RUN, task, queue="bulk", retry=False, declare=[], serializer="json")
    with valkey.client() as client:
        theirs, ours = (_opened(message) for message in client.lrange("bulk", 0, -1))
    assert ours == theirs


def test_a_script_is_given_the_same_messages_where_it_may_publish_them(valkey):
    app = make_app(Settings.from_environ({"RELAY_REDIS_URL": valkey.tcp_url}))
    ready = [("a", "bulk"), ("b", "interactive"), ("c", "bulk")]
    assert Publisher(app).messages_for_script(ready) == []
    given = Publisher(app, in_store=True).messages_for_script(ready)
    Publisher(app).publish("bulk", ["a", "c"])
    with valkey.client() as client:
        (published,) = client.lrange("bulk", 0, -1)
    assert [lane for lane, _ in given] == ["bulk", "interactive"]
    assert _opened(given[0][1]) == _opened(published)


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
    assert bool(cli_runtime(Settings.from_environ(environ)).publisher.messages_for_script([("a", "bulk")])) is in_store


def _opened(message):
    """Return a message without its unique parts: its ids, and where it was made."""
    message = json.loads(message)
    body = json.loads(b64decode(message.pop("body")))
    headers, properties = message["headers"], message["properties"]
    own = headers.pop("id")
    assert headers.pop("root_id") == own == properties.pop("correlation_id")
    assert properties.pop("delivery_tag")
    return body, message
