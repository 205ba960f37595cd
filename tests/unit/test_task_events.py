"""The events of calls that a worker sends to Flower."""

from __future__ import annotations

import pytest
from amqp.exceptions import ChannelError
from amqp.exceptions import ConnectionError as Away
from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError
from kombu.transport import memory

from relay.metrics.shown_calls import ShownCall
from workers.task_events import TaskEvents


def shown(number):
    state = ("SUCCESS", "FAILURE", "RETRY")[number % 3]
    return ShownCall(f"call-{number}", "acme/hook", state, "200 answered", 0.25, number, "bulk", 1_000.0 + number)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
def test_each_call_is_one_event_however_many_there_are(count):
    app = Celery("relay", broker="memory://", set_as_current=False)
    with app.connection_for_read() as connection:
        exchange = Exchange(app.conf.event_exchange, type="topic")
        queue = Queue(f"events-{count}", exchange, routing_key="#")(connection.default_channel)
        queue.declare()
        assert TaskEvents(app, "bulk@here").send([shown(number) for number in range(count)])
        messages = []
        while (message := queue.get()) is not None:
            messages.append(message)
    groups = [message.decode() for message in messages]
    events = [event for group in groups for event in group]
    assert [len(group) for group in groups] == [100] * (count // 100) + [count % 100] * (count % 100 > 0)
    assert all(message.headers["hostname"] == "bulk@here" for message in messages)
    said = [(each["uuid"], each["type"], each["started"], each["timestamp"], each["retries"]) for each in events]
    assert [each["exception"] for each in events] == [None if n % 3 == 0 else "200 answered" for n in range(count)]
    assert {(each["name"], each["routing_key"], each["result"], each["hostname"]) for each in events} <= {
        ("acme/hook", "bulk", "200 answered", "bulk@here")
    }
    types = ("task-succeeded", "task-failed", "task-retried")
    assert said == [(f"call-{n}", types[n % 3], 999.75 + n, 1_000.0 + n, n) for n in range(count)]


@pytest.mark.parametrize("error", [Away, ChannelError, OperationalError, OSError])
def test_events_that_the_broker_does_not_accept_are_lost_and_not_sent_again(monkeypatch, error):
    tried = []

    def put(*message, **_more):
        tried.append(message)
        raise error

    monkeypatch.setattr(memory.Channel, "_put", put)
    app = Celery("relay", broker="memory://", set_as_current=False)
    with app.connection_for_read() as connection:
        exchange = Exchange(app.conf.event_exchange, type="topic")
        Queue("events-lost", exchange, routing_key="#")(connection.default_channel).declare()
        assert not TaskEvents(app, "bulk@here").send([shown(number) for number in range(250)])
    assert len(tried) == 1
