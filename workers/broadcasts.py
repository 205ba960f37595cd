"""Answers questions that are broadcast to workers (Celery's inspections), and takes no other broadcast.

Everybody whose server user may ask may also say anything else on the same channel. So workers have none of Celery's
commands that change them, a broadcast in any other form is dropped, and none ends the answering.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from typing import Any, Final

import gevent
import orjson
from celery.worker import control, pidbox
from kombu.transport import TRANSPORT_ALIASES

from relay.domain.reference_id import UUID_PATTERN
from relay.queue import LANES
from relay.telemetry import log
from workers import lanes

#: What Flower's pages and the probes of containers ask, and the arguments that each question may have.
QUESTIONS: Final = {
    "ping": (),
    "stats": (),
    "active_queues": (),
    "registered": ("taskinfoitems",),
    "scheduled": (),
    "active": ("safe",),
    "reserved": (),
    "revoked": (),
    "conf": ("with_defaults",),
}
#: Where answers go: no message may name another place, since a worker's rights reach further than the writer's.
_ANSWER_EXCHANGE: Final = "reply.celery.pidbox"
_FORM: Final = ("application/json", "utf-8", "base64")
_MEMBERS: Final = frozenset({"method", "arguments", "destination", "pattern", "matcher", "ticket", "reply_to"})
#: The longest broadcast, in characters; a hundred events of calls take a fifth of it.
_MAX_CHARS: Final = 262_144
#: How long, in seconds, a worker waits before it listens again after the connection was lost.
_PAUSE_S: Final = 1.0


def is_envelope(raw: Any) -> bool:
    """Return whether ``raw`` has the form of a message with JSON, which Celery's own code can take apart."""
    try:
        headers, properties, body = raw["headers"], raw["properties"], raw["body"]
        if len(body) > _MAX_CHARS or not isinstance(properties["delivery_info"], dict):
            return False
        orjson.loads(b64decode(body, validate=True))
        form = (raw["content-type"], raw["content-encoding"], properties["body_encoding"])
        return isinstance(headers, dict) and isinstance(properties["delivery_tag"], str) and form == _FORM
    except (LookupError, TypeError, ValueError):
        return False


def is_question(body: Any) -> bool:
    """Return whether a broadcast asks what a worker answers, and nothing more."""
    if not isinstance(body, dict) or not body.keys() <= _MEMBERS:
        return False
    method, arguments = body.get("method"), body.get("arguments") or {}
    destination, ticket = body.get("destination"), body.get("ticket")
    return (
        isinstance(method, str)
        and method in control.Panel.data
        and isinstance(arguments, dict)
        and arguments.keys() <= set(QUESTIONS.get(method, ()))
        and all(value is None or value in (True, False, []) for value in arguments.values())
        and (destination is None or (isinstance(destination, list) and all(isinstance(to, str) for to in destination)))
        and not body.get("pattern")
        and (ticket is None or _is_uuid(ticket))
        and _is_answerable(body.get("reply_to"))
    )


def _is_answerable(reply_to: Any) -> bool:
    if reply_to is None:
        return True
    return (
        isinstance(reply_to, dict)
        and reply_to.get("exchange") == _ANSWER_EXCHANGE
        and _is_uuid(reply_to.get("routing_key"))
    )


def _is_uuid(text: Any) -> bool:
    return isinstance(text, str) and UUID_PATTERN.match(text) is not None


def _drop() -> None:
    log.event(log.Event.MESSAGE_DROPPED, level=logging.WARNING, lane="broadcast")


class Mailbox(pidbox.gPidbox):
    """Celery's mailbox of a worker; it takes questions alone, and listens again whatever it has met."""

    _starts = 0

    def start(self, c: Any) -> None:
        """Listen, in a greenlet of its own."""
        self._starts += 1
        gevent.spawn(self._listen, c, self._starts)

    def on_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - its clock is not to be trusted
        """Answer a question; drop anything else."""
        if not is_question(body):
            _drop()
            return
        super().on_message(body, None)

    def _listen(self, c: Any, start: int) -> None:
        while self._starts == start:
            try:
                self.loop(c)
            except Exception as error:  # noqa: BLE001 - whatever it was, questions that come later are to be answered
                log.fault(error, "broadcast")
            else:
                return  # it was told to stop
            gevent.sleep(_PAUSE_S)
            if self._node_stopped is None:
                return


class _Delivering:
    """A mixin for kombu's transports: drops what Celery's own code would fail on, and stop listening."""

    def _deliver(self: Any, message: Any, queue: str) -> None:
        if queue in LANES or is_envelope(message):
            super()._deliver(message, queue)  # type: ignore[misc]
        else:
            _drop()


class CheckedTransport(_Delivering, lanes.Transport):
    """A transport for a broker that is a single server."""


class CheckedSentinelTransport(_Delivering, lanes.SentinelTransport):
    """A transport for a broker that sentinels name."""


def use_checked_transports() -> None:
    """Make kombu's Redis transports check lanes and broadcasts; to be called before the first connection is made."""
    lanes.use_checked_transports()
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{CheckedTransport.__name__}"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:{CheckedSentinelTransport.__name__}"


def take_questions_alone() -> None:
    """Take away from this process Celery's commands that change workers, and use `Mailbox`."""
    for name, command in list(control.Panel.data.items()):
        if name not in QUESTIONS and command.__module__ == control.__name__:
            del control.Panel.data[name]
    pidbox.gPidbox = Mailbox
