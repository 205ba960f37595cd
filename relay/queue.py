"""The Celery side of the queue: lanes, the task's name, the app's settings, and the publisher of reference ids.

A message is a hint: it carries only reference ids, and may be lost or doubled. The sweeper makes up for a lost message,
and the claim for a doubled one.
"""

from __future__ import annotations

import logging
import ssl
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import orjson

from relay.errors import Unavailable
from relay.settings.urls import broker_url
from relay.telemetry.log import Event, event
from relay.text.server_addresses import BROKER_SENTINEL, SENTINEL, is_cluster, read_address, scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from celery import Celery

    from relay.settings import Settings
    from relay.text.server_addresses import ServerAddress

#: Celery queues, most urgent first.
LANES: Final = ("interactive", "bulk", "replay")
#: The lane of the calls whose callers wait.
URGENT: Final = LANES[0]
#: The lane of replay jobs and their calls.
REPLAYS: Final = LANES[2]
#: The one task: run the invocations with these reference ids.
RUN: Final = "relay.run"
#: The most ids in one message; the cost of a message hardly depends on how many it carries.
MESSAGE_IDS: Final = 128

_AMQP: Final = ("amqp", "amqps")
#: A broker that has not confirmed a message after this many seconds counts as away.
_CONFIRM_TIMEOUT_S: Final = 5
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
        broker_pool_limit=10,
        broker_pool_acquire_timeout=2,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        task_queues=[Queue(lane, Exchange("relay", "direct"), routing_key=lane) for lane in LANES],
        task_default_queue=LANES[0],
        task_create_missing_queues=False,
        task_acks_late=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_enable_remote_control=True,
        event_queue_expires=60,
        enable_utc=True,
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
    of_sentinels = {"socket_timeout": 3, "ssl": address.encrypted, **checks}
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


class _Envelope:
    """Wraps the ids of a message as Celery and kombu do (task protocol 2; kombu's virtual transports).

    Celery makes the wrapping once; messages differ only in the ids that they carry and in their own ids. Making each
    with the libraries' `Producer` took an API process more time than the triggers themselves (docs/performance.md).
    """

    def __init__(self, app: Celery) -> None:
        task = app.amqp.create_task_message("", RUN, ((),), {}, argsrepr="", kwargsrepr="{}", ignore_result=True)
        self._headers: dict[str, Any] = task.headers
        self._embed = task.body[2]
        self._delivery: dict[str, Any] = {"delivery_mode": 2, "priority": 0, "body_encoding": "base64"}

    def around(self, lane: str, reference_ids: Sequence[str]) -> bytes:
        """Wrap ids in a message, in the form that it has in the lane's list."""
        task_id = str(uuid4())
        body = orjson.dumps([[reference_ids], {}, self._embed])
        own = {"id": task_id, "root_id": task_id, "argsrepr": f"({len(reference_ids)} ids)"}
        return orjson.dumps(
            {
                "body": b64encode(body).decode("ascii"),
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": {**self._headers, **own},
                "properties": {
                    **self._delivery,
                    "correlation_id": task_id,
                    "reply_to": "",
                    "delivery_info": {"exchange": "", "routing_key": lane},
                    "delivery_tag": str(uuid4()),
                },
            }
        )


class _RedisLanes:
    """Lanes as lists of a Redis server, which is at the broker's address or named by its Sentinels."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._envelope = _Envelope(app)
        self._client: Any = None  # kombu's, with connections for as many threads as want one

    def put(self, lane: str, messages: Sequence[Sequence[str]]) -> None:
        """Put a message on the lane for each of these lists of ids."""
        self._lists().lpush(lane, *(self.message(lane, ids) for ids in messages))

    def depth(self, lane: str) -> int:
        """Count the messages that the lane holds."""
        return int(self._lists().llen(lane))

    def message(self, lane: str, ids: Sequence[str]) -> bytes:
        """Make a message, in the form that it has in the lane's list."""
        return self._envelope.around(lane, ids)

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

    def put(self, lane: str, messages: Sequence[Sequence[str]]) -> None:
        """Put a message on the lane for each of these lists of ids, and wait until the broker has them."""
        with self._app.producer_or_acquire() as producer:
            for ids in messages:
                self._app.send_task(
                    RUN,
                    (ids,),
                    queue=lane,
                    producer=producer,
                    argsrepr=f"({len(ids)} ids)",
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
    """Publishes reference ids to lanes, from any thread or greenlet.

    ``in_store``: the broker is the store's own database, so that a script may put messages into their lanes.
    """

    def __init__(self, app: Celery, *, in_store: bool = False) -> None:
        self._in_store = in_store
        scheme = str(app.conf.broker_url).partition(":")[0]
        self._lanes: _RedisLanes | _AmqpLanes = _AmqpLanes(app) if scheme in _AMQP else _RedisLanes(app)

    def publish(self, lane: str, reference_ids: Sequence[str]) -> None:
        """Put ids on a lane, up to `MESSAGE_IDS` in a message.

        Raises:
            Unavailable: the broker cannot be reached. Nothing is lost: the sweeper publishes these ids again.
        """
        try:
            self._lanes.put(lane, _in_messages(reference_ids))
        except Exception as error:
            raise Unavailable from error

    def messages_for_script(self, ready: Iterable[tuple[str, str]]) -> list[tuple[str, bytes]]:
        """Return ``(lane, message)`` for ``(id, lane)`` pairs, for a script to put into the lanes; none if none can."""
        if not (self._in_store and isinstance(self._lanes, _RedisLanes)):
            return []
        lanes = _by_lane(ready).items()
        return [(lane, self._lanes.message(lane, part)) for lane, ids in lanes for part in _in_messages(ids)]

    def publish_ready(self, ready: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Publish ``(id, lane)`` pairs; return those that could not be published, which the sweeper publishes later."""
        left: list[tuple[str, str]] = []
        for lane, reference_ids in _by_lane(ready).items():
            try:
                self.publish(lane, reference_ids)
            except Unavailable:
                event(Event.PUBLISH_FAILED, level=logging.WARNING, lane=lane, ids=len(reference_ids))
                left += ((reference_id, lane) for reference_id in reference_ids)
        return tuple(left)

    def depths(self, lanes: Iterable[str] = LANES) -> dict[str, int]:
        """Count the messages that each lane holds; return no counts while the broker is away."""
        try:
            return {lane: self._lanes.depth(lane) for lane in lanes}
        except Exception:  # noqa: BLE001 - a broker that does not answer with a number counts as away
            return {}

    def close(self) -> None:
        """Close the connections that it made."""
        self._lanes.close()


def _in_messages(reference_ids: Sequence[str]) -> list[Sequence[str]]:
    starts = range(0, len(reference_ids), MESSAGE_IDS)
    return [reference_ids[start : start + MESSAGE_IDS] for start in starts]


def _by_lane(ready: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    lanes: dict[str, list[str]] = {}
    for reference_id, lane in ready:
        lanes.setdefault(lane, []).append(reference_id)
    return lanes
