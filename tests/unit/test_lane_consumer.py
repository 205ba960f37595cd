"""How a worker takes a message: as a hint that names a lane and a partition."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kombu import Message

from relay.queue import LANES, RUN
from workers import lane_consumer, lanes
from workers.lane_consumer import LaneConsumer


class Pool:
    """A pool that keeps what it is to run."""

    def __init__(self):
        self.kept = []

    def apply_async(self, target, args, callback, accept_callback):
        self.kept.append((target, args, callback, accept_callback))

    def run_next(self):
        target, args, callback, accept_callback = self.kept.pop(0)
        accept_callback(1, 0.0)
        callback(target(*args))


class Worker:
    """A consumer whose task notes what it is asked for; ``acknowledged`` has how each acknowledgement was asked for."""

    def __init__(self):
        self.ran, self.acknowledged = [], []
        consumer = LaneConsumer.__new__(LaneConsumer)
        consumer.app = SimpleNamespace(tasks={RUN: SimpleNamespace(run=lambda *given: self.ran.append(given))})
        consumer.pool, consumer.connection_errors, consumer.hub = Pool(), (OSError,), None
        self.consumer, self.pool = consumer, consumer.pool

    def message(self, body=None, lane="bulk"):
        message = Message(body, content_type="application/json", delivery_info={"routing_key": lane})
        message._decoded_cache = body
        message.ack_log_error = lambda *given: self.acknowledged.append(given)
        return message

    def receive(self, body, lane="bulk"):
        self.consumer.create_task_handler()(self.message(body, lane))


@pytest.mark.parametrize("lane", LANES)
def test_a_message_is_run_in_the_pool_and_acknowledged_when_it_begins(lane):
    worker = Worker()
    worker.receive([[lane, 3], {}, {"callbacks": ["other"]}])
    assert (worker.ran, worker.acknowledged) == ([], [])  # only a few at a time: the others stay with the broker
    worker.pool.run_next()
    assert worker.ran == [(lane, 3)]
    ((logger, errors),) = worker.acknowledged
    assert (logger.name, errors) == (lane_consumer.__name__, (OSError,))


def test_calls_are_started_although_their_message_cannot_be_acknowledged():
    def fail(*_):
        raise RuntimeError

    worker = Worker()
    message = worker.message([["bulk", 0], {}, {}])
    message.ack_log_error = fail
    worker.consumer.create_task_handler()(message)
    worker.pool.run_next()
    assert worker.ran == [("bulk", 0)]


@pytest.mark.parametrize("body", [None, 7, "ab", ["ab"], {}, [], [[]], [["bulk"]], [["nowhere", 0]], [[["bulk"], 0]],
    [["bulk", "0"]], [["bulk", True]], [["bulk", 0, 0]], [[0, "bulk"]], [{"bulk": 0, "replay": 1}]], ids=repr)  # fmt: skip
def test_what_names_no_lane_and_partition_is_dropped_and_acknowledged(body, events_of):
    worker, logged = Worker(), events_of(lanes.log)
    worker.receive(body)
    assert (worker.pool.kept, len(worker.acknowledged)) == ([], 1)
    assert [(name, values["lane"]) for name, values in logged] == [(lanes.log.Event.MESSAGE_DROPPED, "bulk")]


@pytest.mark.parametrize(
    ("named", "logged"), [("replay", "replay"), ("planted", "broker"), ([], "broker"), (None, "broker")]
)
def test_what_cannot_be_decoded_is_dropped_and_acknowledged_and_none_of_it_logged(named, logged, events_of):
    worker, events = Worker(), events_of(lanes.log)
    worker.consumer.on_decode_error(worker.message("planted", named), ValueError("planted"))
    assert len(worker.acknowledged) == 1
    assert "planted" not in str(events)
    assert [values["lane"] for _, values in events] == [logged]
