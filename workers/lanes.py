"""Takes messages off lanes. What is no message of ours is dropped and counted, and stops nothing.

kombu decodes a message on the thread that reads the lanes, and what that raises ends the worker.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson
from gevent.monkey import is_module_patched
from kombu.transport import TRANSPORT_ALIASES, redis

from relay.queue import LANES, MESSAGE_IDS, RUN
from relay.telemetry import log
from workers.lane_poller import LanePoller

if TYPE_CHECKING:
    from relay.store.workers import Workers

_dropped: Final[Counter[str]] = Counter()  # by lane, since this was last written down


def use_checked_transports() -> None:
    """Have kombu's Redis transports check what they take off a lane. Before the first connection is made."""
    if is_module_patched("select"):  # in a worker, not in Flower beside it
        redis.poll = LanePoller
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"


def is_message(raw: Any) -> bool:
    """Return whether this is a message as `relay.queue` writes it: our one task, and at most `MESSAGE_IDS` ids."""
    try:
        headers, properties = raw["headers"], raw["properties"]
        if headers["task"] != RUN or raw["content-type"] != "application/json":
            return False
        if not isinstance(headers["id"], str) or not isinstance(properties["delivery_tag"], str):
            return False
        (named,), others, _ = orjson.loads(b64decode(raw["body"], validate=True))
    except (LookupError, TypeError, ValueError):
        return False
    return properties.get("body_encoding") == "base64" and others == {} and _are_ids(named)


def _are_ids(named: Any) -> bool:
    return isinstance(named, list) and len(named) <= MESSAGE_IDS and all(isinstance(name, str) for name in named)


def write_down_dropped(workers: Workers) -> None:
    """Add what was dropped to the count of all workers. Raises `Unavailable`."""
    counts = {lane: count for lane, count in _dropped.items() if count}
    if counts:
        workers.count_dropped(counts)
        _dropped.subtract(counts)


def _drop(lane: str) -> None:
    _dropped[lane] += 1
    log.event(log.Event.MESSAGE_DROPPED, level=logging.WARNING, lane=lane)


class _LaneReading:
    """What a channel does differently."""

    def _brpop_read(self: Any, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, RecursionError):  # no JSON, or too deep
            _drop(self._queue_cycle.items[-1])  # whose turn it was last
            return True

    def _receive(self: Any) -> Any:
        try:
            return super()._receive()  # type: ignore[misc]
        except RecursionError:
            _drop("broadcast")
            return True


class _LaneDelivering:
    """What a transport does differently."""

    def _deliver(self: Any, message: Any, queue: str) -> None:
        if queue in LANES and not is_message(message):
            _drop(queue)
            return
        try:
            super()._deliver(message, queue)  # type: ignore[misc]
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception as error:  # noqa: BLE001 - what one message does must not end the reading of all others
            log.fault(error, "message")
            self._forget(message, queue)

    def _forget(self: Any, message: Any, queue: str) -> None:
        """Let it not count among those that are still to be acknowledged."""
        _drop(queue)
        for channel in self.channels:
            channel.qos.ack(message["properties"]["delivery_tag"])


class Channel(_LaneReading, redis.Channel):
    """A channel of one server."""


class SentinelChannel(_LaneReading, redis.SentinelChannel):
    """A channel of the server that sentinels name."""


class Transport(_LaneDelivering, redis.Transport):
    """A broker that is one server."""

    Channel = Channel


class SentinelTransport(_LaneDelivering, redis.SentinelTransport):
    """A broker that sentinels name."""

    Channel = SentinelChannel
