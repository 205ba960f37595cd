"""The events of calls that a worker sends to Flower."""

from __future__ import annotations

import os

import pytest
from amqp.exceptions import ChannelError
from amqp.exceptions import ConnectionError as Away
from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError
from kombu.transport import memory

from relay.metrics.shown_calls import ShownCall
from workers.shown_events import is_event
from workers.task_events import TaskEvents

ENDED_S = 1_800_000_000.0


def shown(number):
    state = ("SUCCESS", "FAILURE", "RETRY")[number % 3]
    return ShownCall(f"call-{number}", "acme/hook", state, "200 answered", 0.25, number, "bulk", ENDED_S + number)


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
    assert all(message.headers["hostname"] == "bulk@here" for message in messages)
    assert all(message.properties["delivery_mode"] == 1 for message in messages)  # no broker writes them to its disk
    groups = [message.decode() for message in messages]
    events = [event for group in groups for event in group]
    assert [len(group) for group in groups] == [100] * (count // 100) + [count % 100] * (count % 100 > 0)
    assert all(map(is_event, events))  # Flower shows no others
    said = [(each["uuid"], each["type"], each["started"], each["timestamp"], each["retries"]) for each in events]
    assert [each["exception"] for each in events] == [None if n % 3 == 0 else "200 answered" for n in range(count)]
    assert {(each["name"], each["routing_key"], each["result"], each["hostname"]) for each in events} <= {
        ("acme/hook", "bulk", "200 answered", "bulk@here")
    }
    assert {(each["args"], each["kwargs"], each["runtime"], each["pid"]) for each in events} <= {
        ("()", "{}", 0.25, os.getpid())
    }
    assert all(each["received"] == each["started"] for each in events)
    clocks = [each["clock"] for each in events]
    assert clocks == sorted(set(clocks))
    types = ("task-succeeded", "task-failed", "task-retried")
    assert said == [(f"call-{n}", types[n % 3], ENDED_S - 0.25 + n, ENDED_S + n, n) for n in range(count)]


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
