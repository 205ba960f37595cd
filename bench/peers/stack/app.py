"""The Celery app: its consumer takes each message as a hint that calls wait, as the relay's does."""

from __future__ import annotations

import os
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import gevent
import orjson
from celery import Celery
from celery.utils.functional import noop
from celery.worker.consumer import Consumer
from gevent.monkey import is_module_patched
from kombu import Exchange, Queue
from kombu.transport import redis
from kombu.utils import functional

from bench.peers.stack.worker import Worker
from workers.lane_poller import LanePoller

if TYPE_CHECKING:
    from collections.abc import Callable

LANE = "lane"

app = Celery("stack", broker=os.environ["BENCH_BROKER_URL"])
app.conf.update(
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    broker_transport_options={"ack_emulation": False, "socket_timeout": 10, "priority_steps": [0]},
    task_default_queue=LANE,
    task_queues=[Queue(LANE, Exchange("stack", "direct"), routing_key=LANE)],
    worker_hijack_root_logger=False,
)
if is_module_patched("select"):  # in a worker, where these keep kombu from blocking the process
    redis.poll = LanePoller
    functional.sleep = gevent.sleep


class HintConsumer(Consumer):
    """Celery's consumer, which makes no request of a message."""

    def create_task_handler(self, **_: Any) -> Callable[[Any], None]:
        worker = Worker()

        def take(message: Any) -> None:
            message.decode()
            self.pool.apply_async(worker.run, (), callback=noop, accept_callback=lambda *_: message.ack())

        return take


app.conf.worker_consumer = f"{__name__}:{HintConsumer.__name__}"


def hint() -> bytes:
    """Make a message in the form that kombu gives it in the lane's list."""
    task = app.amqp.create_task_message("", "run", ((),), {}, argsrepr="", kwargsrepr="{}", ignore_result=True)
    body = b64encode(orjson.dumps(task.body)).decode()
    properties = {
        "delivery_mode": 2,
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": LANE},
        "delivery_tag": str(uuid4()),
    }
    kind = {"content-encoding": "utf-8", "content-type": "application/json"}
    return orjson.dumps({"body": body, **kind, "headers": task.headers, "properties": properties})
