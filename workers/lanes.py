"""Takes messages off lanes; drops and counts those that the relay did not write, so that they stop nothing.

kombu decodes a message on the thread that reads the lanes, and an error there would end the worker.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import gevent
import orjson
from celery import Celery
from gevent.monkey import is_module_patched
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.utils import functional

from relay.queue import LANES, task_message
from relay.telemetry import log
from workers.lane_poller import LanePoller

if TYPE_CHECKING:
    from relay.store.health.workers import Workers

#: The headers that differ from message to message.
_OWN: Final = frozenset({"id", "root_id", "argsrepr", "origin"})
_dropped: Final[Counter[str]] = Counter()  # by lane, since the counts were last written


def use_checked_transports() -> None:
    """Make kombu's Redis transports check the messages of lanes; to be called before the first connection is made."""
    if is_module_patched("select"):  # in a worker, not in Flower beside it
        redis.poll = LanePoller
        # Celery loads this module before it lets gevent patch `time`: waiting for the broker would stop the process.
        functional.sleep = gevent.sleep
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"


def is_message(raw: Any) -> bool:
    """Return whether ``raw`` is a message exactly as `relay.queue` writes it: the one task, a lane and a partition.

    Celery would act for the writer of any other, with this worker's rights: publish links and chords, wait, reply.
    """
    try:
        headers, properties = raw["headers"], raw["properties"]
        if _plain(headers) != _form().headers or not all(isinstance(headers[name], str) for name in _OWN):
            return False
        if properties["reply_to"] or not isinstance(properties["delivery_tag"], str):
            return False
        if raw["content-type"] != "application/json" or properties["body_encoding"] != "base64":
            return False
        (lane, partition), others, embed = orjson.loads(b64decode(raw["body"], validate=True))
    except (LookupError, TypeError, ValueError):
        return False
    return lane in LANES and type(partition) is int and others == {} and embed == _form().embed


def _plain(headers: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in headers.items() if name not in _OWN}


class _Form(NamedTuple):
    headers: dict[str, Any]
    embed: dict[str, None]


@cache
def _form() -> _Form:
    """Return what is the same in all messages."""
    task = task_message(Celery("relay", set_as_current=False))
    return _Form(_plain(task.headers), task.body[2])


def save_dropped_counts(workers: Workers) -> None:
    """Add the numbers of dropped messages to those of all workers; raise `Unavailable` if the store is away."""
    counts = {lane: count for lane, count in _dropped.items() if count}
    if counts:
        workers.count_dropped(counts)
        _dropped.subtract(counts)


def _drop(lane: str) -> None:
    _dropped[lane] += 1
    log.event(log.Event.MESSAGE_DROPPED, level=logging.WARNING, lane=lane)


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
    """A mixin for kombu's transports: drops messages that the relay did not write."""

    def _deliver(self: Any, message: Any, queue: str) -> None:
        if queue in LANES and not is_message(message):
            _drop(queue)
            return
        try:
            super()._deliver(message, queue)  # type: ignore[misc]
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception as error:  # noqa: BLE001 - one bad message must not end the reading of all others
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
    """A channel to the server that sentinels name."""


class Transport(_LaneDelivering, redis.Transport):
    """A transport for a broker that is a single server."""

    Channel = Channel


class SentinelTransport(_LaneDelivering, redis.SentinelTransport):
    """A transport for a broker that sentinels name."""

    Channel = SentinelChannel
