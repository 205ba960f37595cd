"""The Celery side of the queue: lanes, the task's name, the app's settings, and the publisher.

The ids of calls that wait for a worker are in lists of the store (`relay.store.ledger.waiting`). A message is a hint
that a list is not empty: it names a lane and a partition, and may be lost or duplicated. Workers also check the lists
without a hint, once a second.
"""

from __future__ import annotations

import logging
import ssl
import threading
from base64 import b64encode
from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson
import uuid_utils

from relay.errors import StoreFault, Unavailable
from relay.process.loops import Failures
from relay.settings.urls import broker_url
from relay.telemetry.log import Event, event
from relay.text.server_addresses import (
    ASKING_A_SENTINEL,
    BROKER_SENTINEL,
    SENTINEL,
    is_cluster,
    read_address,
    scheme_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery import Celery

    from relay.settings import Settings
    from relay.store.ledger.transitions import Ready
    from relay.store.ledger.waiting import WaitingCalls
    from relay.text.server_addresses import ServerAddress

#: Celery queues, most urgent first.
LANES: Final = ("interactive", "bulk", "replay")
#: The lane of the calls whose callers wait.
URGENT: Final = LANES[0]
#: The lane of replay jobs and their calls.
REPLAYS: Final = LANES[2]
#: The one task: run the calls that wait in a lane of a partition.
RUN: Final = "relay.run"
#: How many calls a worker takes at once, and how many one message stands for.
GROUP_IDS: Final = 128

_AMQP: Final = ("amqp", "amqps")
#: A broker that has not confirmed a message after this many seconds counts as away.
_CONFIRM_TIMEOUT_S: Final = 5
#: The most messages that are published together for one lane and partition; more would not make workers faster.
_MOST_AT_ONCE: Final = 64
#: How many seconds a process waits at its end for messages that are not published yet.
_CLOSE_S: Final = 1.0
_REDIS_TRANSPORT: Final = {
    "ack_emulation": False,  # not needed, as the record decides; without it, 2.3 times as many messages a second
    "socket_timeout": 10,
    "socket_connect_timeout": 3,  # kombu's default waits for ever
    "max_retries": 0,  # of connecting and publishing: callers wait, and the default takes 6 s (consumers retry anyway)
    "socket_keepalive": True,
    "health_check_interval": 10,
    "max_connections": 50,  # the default of 10 fails under gevent
    "priority_steps": [0],
}


def make_app(settings: Settings) -> Celery:
    """Make the Celery app with its settings; ``workers`` adds the task."""
    from celery import Celery  # noqa: PLC0415 - most commands publish nothing, and need not wait for it
    from kombu import Exchange, Queue  # noqa: PLC0415 - as Celery

    app = Celery("relay", set_as_current=True)
    app.conf.update(_broker(settings.broker_url.reveal()))
    app.conf.update(
        broker_pool_acquire_timeout=2,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        task_queues=[Queue(lane, Exchange("relay", "direct"), routing_key=lane) for lane in LANES],
        task_default_queue=LANES[0],
        task_create_missing_queues=False,
        task_acks_late=False,
        task_ignore_result=True,
        accept_content=["json"],
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def _broker(url: str) -> dict[str, Any]:
    """Return Celery's settings for a broker at this address."""
    scheme = scheme_of(url)
    if scheme in _AMQP:
        # Confirmed messages have reached the broker, not only its sockets; those that wait there are for every worker.
        options = {
            "broker_transport_options": {"confirm_publish": True, "max_retries": 0},
            "worker_prefetch_multiplier": 1,
        }
        certificates = {"broker_use_ssl": _checked(url)} if scheme == "amqps" else {}
        return {"broker_url": url.partition("?")[0], "broker_connection_timeout": 3, **options, **certificates}
    redis: dict[str, Any] = {
        "broker_url": url,
        "broker_transport_options": dict(_REDIS_TRANSPORT),
        "worker_prefetch_multiplier": 4,
    }
    return redis | _sentinels(read_address(url)) if scheme in (BROKER_SENTINEL, *SENTINEL) else redis


def _sentinels(address: ServerAddress) -> dict[str, Any]:
    """Return Celery's settings for a broker that Sentinels name; with TLS, certificates are checked."""
    checks = {"ssl_cert_reqs": "required", **address.tls_options} if address.encrypted else {}
    of_sentinels = {**ASKING_A_SENTINEL, "ssl": address.encrypted, **checks}
    return {
        "broker_url": address.for_kombu(),
        "broker_transport_options": {
            **_REDIS_TRANSPORT,
            "master_name": address.service,
            "sentinel_kwargs": of_sentinels,
        },
        "broker_use_ssl": checks or False,
    }


def _checked(url: str) -> dict[str, Any]:
    """Return the options that make py-amqp check the server's certificate, which it does not do by default."""
    parts = urlsplit(url)
    authorities = dict(parse_qsl(parts.query)).get("ssl_ca_certs") or ssl.get_default_verify_paths().cafile
    return {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": authorities, "server_hostname": parts.hostname}


def is_one_database(settings: Settings) -> bool:
    """Return whether lanes and records are in one database, so that a script may write both."""
    store_url = settings.store_url.reveal()
    return not is_cluster(store_url) and settings.broker_url == broker_url(store_url)


def task_message(app: Celery) -> Any:
    """Make a message of the task, as Celery does, with neither id nor arguments."""
    return app.amqp.create_task_message("", RUN, ((),), {}, argsrepr="", kwargsrepr="{}", ignore_result=True)


def shown(lane: str, partition: int) -> str:
    """Return what Celery's tools show of a message's arguments."""
    return f"({lane!r}, {partition})"


class _RedisLanes:
    """Lanes as lists of a Redis server, which is at the broker's address or named by its Sentinels.

    Celery and kombu make the form of a message once (task protocol 2; kombu's virtual transports); messages differ only
    in what they name and in their own ids. Making each with the libraries' `Producer` took an API process more time
    than the triggers themselves: 1.4 ms, where this takes 0.13.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        task = task_message(app)
        self._headers: dict[str, Any] = task.headers
        self._embed = task.body[2]
        self._client: Any = None  # kombu's, with as many connections as threads need

    def put(self, lane: str, partition: int, count: int) -> None:
        """Put ``count`` messages on the lane."""
        self._lists().lpush(lane, *(self.message(lane, partition) for _ in range(count)))

    def depth(self, lane: str) -> int:
        """Count the messages that the lane holds."""
        return int(self._lists().llen(lane))

    def message(self, lane: str, partition: int) -> bytes:
        """Make a message, in the form that it has in the lane's list."""
        task_id = str(uuid_utils.uuid4())
        body = orjson.dumps([[lane, partition], {}, self._embed])
        own = {"id": task_id, "root_id": task_id, "argsrepr": shown(lane, partition)}
        return orjson.dumps(
            {
                "body": b64encode(body).decode("ascii"),
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": {**self._headers, **own},
                "properties": {
                    "delivery_mode": 2,
                    "priority": 0,
                    "body_encoding": "base64",
                    "correlation_id": task_id,
                    "reply_to": "",
                    "delivery_info": {"exchange": "", "routing_key": lane},
                    "delivery_tag": str(uuid_utils.uuid4()),
                },
            }
        )

    def _lists(self) -> Any:
        if self._client is None:
            with self._app.connection_or_acquire(pool=True) as connection:
                self._client = connection.default_channel.client
        return self._client

    def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            self._client.connection_pool.disconnect()


class _AmqpLanes:
    """Lanes as queues of RabbitMQ, or of another broker that speaks AMQP 0-9-1 as it does."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def put(self, lane: str, partition: int, count: int) -> None:
        """Put ``count`` messages on the lane, and wait until the broker has them."""
        with self._app.producer_or_acquire() as producer:
            for _ in range(count):
                self._app.send_task(
                    RUN,
                    (lane, partition),
                    queue=lane,
                    producer=producer,
                    argsrepr=shown(lane, partition),
                    kwargsrepr="{}",
                    ignore_result=True,
                    retry=False,
                    confirm_timeout=_CONFIRM_TIMEOUT_S,
                )

    def depth(self, lane: str) -> int:
        """Count the lane's messages that no worker has taken; declare the lane if it does not exist yet."""
        with self._app.connection_or_acquire(pool=True) as connection, connection.channel() as channel:
            return int(self._app.amqp.queues[lane](channel).queue_declare().message_count)

    def close(self) -> None:
        """Close nothing: its connections are the app's."""


class Publisher:
    """Lets ready calls wait for a worker, and tells workers so, from any thread or greenlet.

    Messages are published in a thread of its own, so that no caller waits for the broker. What it holds is bounded by
    the number of lanes and partitions. Messages that the broker does not take are dropped: the calls are in the store,
    where workers find them. ``in_store``: the broker is the store's own database, so that scripts put messages into the
    lanes.
    """

    def __init__(self, app: Celery, waiting: WaitingCalls, *, in_store: bool = False) -> None:
        self._waiting = waiting
        self._in_store = in_store
        scheme = str(app.conf.broker_url).partition(":")[0]
        self._lanes: _RedisLanes | _AmqpLanes = _AmqpLanes(app) if scheme in _AMQP else _RedisLanes(app)
        self._wanted: Counter[tuple[str, int]] = Counter()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None  # started by the first message, so after any fork
        self._closed = False

    def messages(self, lanes: Iterable[str], partition: int) -> list[tuple[str, bytes]]:
        """Return each lane with the message that a script is to put into it; b"" if no script can reach the broker."""
        if not (self._in_store and isinstance(self._lanes, _RedisLanes)):
            return [(lane, b"") for lane in lanes]
        return [(lane, self._lanes.message(lane, partition)) for lane in lanes]

    def announce(self, messages: Iterable[tuple[str, int]]) -> None:
        """Publish messages, each given as its lane and partition, soon, without waiting for the broker."""
        messages = list(messages)
        if not messages:
            return
        with self._changed:
            self._wanted.update(messages)
            if self._thread is None:
                self._thread = threading.Thread(target=self._announce, name="announcing", daemon=True)
                self._thread.start()
            self._changed.notify()

    def publish_ready(self, ready: Ready) -> None:
        """Let calls wait for a worker. If the store cannot be reached, a sweep does it later."""
        try:
            self.announce(self._waiting.queue(ready, self.messages))
        except (Unavailable, StoreFault) as error:
            Failures("publish", calls=len(ready)).note(error)

    def depths(self, lanes: Iterable[str] = LANES) -> dict[str, int]:
        """Count the messages that each lane holds; return no counts while the broker is away."""
        try:
            return {lane: self._lanes.depth(lane) for lane in lanes}
        except Exception:  # noqa: BLE001 - a broker that does not answer with a number counts as away
            return {}

    def close(self) -> None:
        """Publish what is left, within `_CLOSE_S`, and end the thread and the connections that it made."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)
        self._lanes.close()

    def _announce(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                wanted, self._wanted = self._wanted, Counter()
            if not wanted:
                return
            for (lane, partition), count in wanted.items():
                try:
                    self._lanes.put(lane, partition, min(count, _MOST_AT_ONCE))
                except Exception:  # noqa: BLE001 - whatever the broker's client raises: workers find the calls anyway
                    event(Event.PUBLISH_FAILED, level=logging.WARNING, lane=lane, messages=count)
