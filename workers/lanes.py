"""Receives messages from the lanes of a Redis server, and broadcasts; drops those that kombu cannot take.

kombu decodes a message on the thread that reads the lanes, and an error there would end the worker.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from typing import Any, Final

import gevent
import orjson
from gevent.monkey import is_module_patched
from kombu import compression
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.utils import functional

from relay.queue import LANES
from relay.telemetry import log
from workers.lane_poller import LanePoller

_FORM: Final = ("application/json", "utf-8", "base64")
#: The longest body, in characters; that of a hundred task events takes a fifth of it.
_MAX_CHARS: Final = 262_144


def use_checked_transports() -> None:
    """Make kombu's Redis transports check lanes and broadcasts, and let none of its transports decompress anything.

    A short compressed message may fill the memory. Call this before the first connection is made.
    """
    if is_module_patched("select"):  # in a worker, not in Flower beside it
        redis.poll = LanePoller
        # Celery loads this module before gevent patches `time`: waiting for the broker would block the process.
        functional.sleep = gevent.sleep
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"
    for kind in compression.encoders():
        compression.register(None, _refuse, kind)


def _refuse(_body: bytes) -> bytes:
    raise ValueError("The relay reads no compressed messages.")


def is_envelope(raw: Any) -> bool:
    """Return whether ``raw`` has the form of a message with JSON, which kombu can parse."""
    try:
        headers, properties, body = raw["headers"], raw["properties"], raw["body"]
        if len(body) > _MAX_CHARS or not isinstance(properties["delivery_info"], dict):
            return False
        orjson.loads(b64decode(body, validate=True))
        form = (raw["content-type"], raw["content-encoding"], properties["body_encoding"])
        return isinstance(headers, dict) and isinstance(properties["delivery_tag"], str) and form == _FORM
    except (LookupError, TypeError, ValueError):
        return False


def drop(lane: str) -> None:
    """Log that a message of a lane, or a broadcast, was dropped."""
    log.event(log.Event.MESSAGE_DROPPED, level=logging.WARNING, lane=lane)


class _LaneReading:
    """A mixin for kombu's channels: drops messages that cannot be decoded."""

    def _brpop_read(self: Any, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, RecursionError):  # not JSON, or too deep
            drop(self._queue_cycle.items[-1])  # the lane that was read last
            return True

    def _receive(self: Any) -> Any:
        try:
            return super()._receive()  # type: ignore[misc]
        except RecursionError:
            drop("broadcast")
            return True


class _LaneDelivering:
    """A mixin for kombu's transports: drops what kombu or Celery would fail on."""

    def _deliver(self: Any, message: Any, queue: str) -> None:
        if not is_envelope(message):
            drop(queue if queue in LANES else "broadcast")
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
        drop(queue)
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
