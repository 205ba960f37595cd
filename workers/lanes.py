"""Receives messages from lanes, and broadcasts; drops those that the relay did not write, so that they do no harm.

kombu decodes a message on the thread that reads the lanes, and an error there would end the worker.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from functools import cache
from typing import Any, Final

import gevent
import orjson
from celery import Celery
from gevent.monkey import is_module_patched
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.utils import functional

from relay.queue import LANES, task_message
from relay.telemetry import log
from workers.lane_poller import LanePoller

_FORM: Final = ("application/json", "utf-8", "base64")
#: The longest broadcast, in characters; a hundred task events take a fifth of it.
_MAX_CHARS: Final = 262_144
#: The headers that differ from message to message.
_OWN: Final = frozenset({"id", "root_id", "argsrepr", "origin"})


def use_checked_transports() -> None:
    """Make kombu's Redis transports check lanes and broadcasts. Call this before the first connection is made."""
    if is_module_patched("select"):  # in a worker, not in Flower beside it
        redis.poll = LanePoller
        # Celery loads this module before gevent patches `time`: waiting for the broker would block the process.
        functional.sleep = gevent.sleep
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"


def is_message(raw: Any) -> bool:
    """Return whether ``raw`` is a message exactly as `relay.queue` writes it: the one task, a lane and a partition.

    Celery would obey the writer of any other, with this worker's rights: publish links and chords, wait, reply.
    """
    same_headers, same_embed = _form()
    try:
        headers, properties = raw["headers"], raw["properties"]
        if _plain(headers) != same_headers or not all(isinstance(headers[name], str) for name in _OWN):
            return False
        if properties["reply_to"] or not isinstance(properties["delivery_tag"], str):
            return False
        if raw["content-type"] != "application/json" or properties["body_encoding"] != "base64":
            return False
        (lane, partition), others, embed = orjson.loads(b64decode(raw["body"], validate=True))
    except (LookupError, TypeError, ValueError):
        return False
    return lane in LANES and type(partition) is int and others == {} and embed == same_embed


def _plain(headers: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in headers.items() if name not in _OWN}


@cache
def _form() -> tuple[dict[str, Any], dict[str, None]]:
    """Return what is the same in all messages: headers, and the last part of the body."""
    task = task_message(Celery("relay", set_as_current=False))
    return _plain(task.headers), task.body[2]


def is_envelope(raw: Any) -> bool:
    """Return whether ``raw`` has the form of a message with JSON, which Celery's own code can parse."""
    try:
        headers, properties, body = raw["headers"], raw["properties"], raw["body"]
        if len(body) > _MAX_CHARS or not isinstance(properties["delivery_info"], dict):
            return False
        orjson.loads(b64decode(body, validate=True))
        form = (raw["content-type"], raw["content-encoding"], properties["body_encoding"])
        return isinstance(headers, dict) and isinstance(properties["delivery_tag"], str) and form == _FORM
    except (LookupError, TypeError, ValueError):
        return False


def _drop(lane: str) -> None:
    log.event(log.Event.MESSAGE_DROPPED, level=logging.WARNING, lane=lane)


def drop_broadcast() -> None:
    """Log that a broadcast was dropped."""
    log.event(log.Event.MESSAGE_DROPPED, level=logging.WARNING, lane="broadcast")


class _LaneReading:
    """A mixin for kombu's channels: drops messages that cannot be decoded."""

    def _brpop_read(self: Any, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, RecursionError):  # not JSON, or too deep
            _drop(self._queue_cycle.items[-1])  # the lane that was read last
            return True

    def _receive(self: Any) -> Any:
        try:
            return super()._receive()  # type: ignore[misc]
        except RecursionError:
            _drop("broadcast")
            return True


class _LaneDelivering:
    """A mixin for kombu's transports: drops what the relay did not write, and what Celery's own code would fail on."""

    def _deliver(self: Any, message: Any, queue: str) -> None:
        if queue in LANES and not is_message(message):
            _drop(queue)
            return
        if queue not in LANES and not is_envelope(message):
            drop_broadcast()
            return
        try:
            super()._deliver(message, queue)  # type: ignore[misc]
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception as error:  # noqa: BLE001 - one bad message must not stop the reading of all others
            log.fault(error, "message")
            self._forget(message, queue)

    def _forget(self: Any, message: Any, queue: str) -> None:
        """Drop a message, and acknowledge it, so that it does not count as outstanding."""
        _drop(queue)
        for channel in self.channels:
            channel.qos.ack(message["properties"]["delivery_tag"])


class Channel(_LaneReading, redis.Channel):
    """A channel to a single server."""


class SentinelChannel(_LaneReading, redis.SentinelChannel):
    """A channel to the server that Sentinel names."""


class Transport(_LaneDelivering, redis.Transport):
    """A transport for a broker that is a single server."""

    Channel = Channel


class SentinelTransport(_LaneDelivering, redis.SentinelTransport):
    """A transport for a broker that Sentinel names."""

    Channel = SentinelChannel
