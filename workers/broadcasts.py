"""Answers the questions that are broadcast to workers (Celery's inspections), and accepts no other broadcast.

Whoever may ask questions may send anything else on the same channel. So workers have none of Celery's commands that
change a worker, a broadcast in any other form is dropped, and no broadcast stops the answering.
"""

from __future__ import annotations

from typing import Any, Final

import gevent
from celery.worker import control, pidbox

from relay.domain.reference_id import UUID_PATTERN
from relay.telemetry import log
from workers.lanes import drop

#: What Flower's pages and container probes ask, and the arguments that each question may have.
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
#: Where answers go. No message may name another place, since a worker has more rights than the message's writer.
_ANSWER_EXCHANGE: Final = "reply.celery.pidbox"
_MEMBERS: Final = frozenset({"method", "arguments", "destination", "pattern", "matcher", "ticket", "reply_to"})
#: How long, in seconds, a worker waits before it listens again after the connection was lost.
_PAUSE_S: Final = 1.0


def is_question(body: Any) -> bool:
    """Return whether a broadcast is a question that a worker answers, and nothing else."""
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


class Mailbox(pidbox.gPidbox):
    """A worker's Celery mailbox, which accepts only questions, and listens again after any error."""

    _starts = 0

    def start(self, c: Any) -> None:
        """Listen, in a greenlet of its own."""
        self._starts += 1
        gevent.spawn(self._listen, c, self._starts)

    def on_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - its clock is not to be trusted
        """Answer a question; drop anything else."""
        if not is_question(body):
            drop("broadcast")
            return
        super().on_message(body, None)

    def _listen(self, c: Any, start: int) -> None:
        while self._starts == start:
            try:
                self.loop(c)
            except SystemExit:  # ends a wait for the broker; gevent would raise it again in a main greenlet that stops
                return
            except c.connection_errors:  # as the consumer says it of its own connection
                pidbox.logger.warning("pidbox: Connection to broker lost. Trying to re-establish the connection...")
            except Exception as error:  # noqa: BLE001 - whatever it was, later questions must be answered
                log.fault(error, "broadcast")
            else:
                return  # it was told to stop
            gevent.sleep(_PAUSE_S)
            if self._node_stopped is None:
                return


def take_questions_alone() -> None:
    """Remove Celery's commands that change workers from this process, and use `Mailbox`."""
    for name, command in list(control.Panel.data.items()):
        if name not in QUESTIONS and command.__module__ == control.__name__:
            del control.Panel.data[name]
    pidbox.gPidbox = Mailbox
