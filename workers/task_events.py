"""Shows calls in Flower as Celery tasks: one event per call, many events per message.

Celery's own task events, three messages for each message of a lane, stay off: Flower asks for none, and a worker has no
command that switches them on (`workers.broadcasts`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from celery.events.event import get_exchange
from celery.utils.time import utcoffset
from kombu.exceptions import KombuError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery import Celery

    from relay.metrics.shown_calls import ShownCall

#: Celery's name for the event of each state.
_TYPES: Final = {"SUCCESS": "task-succeeded", "FAILURE": "task-failed", "RETRY": "task-retried"}
#: The routing key of a message that carries several task events.
_SEVERAL: Final = "task.multi"
#: The most events in one message.
_GROUP: Final = 100


class TaskEvents:
    """Sends the task events of one worker. Events that the broker does not accept are lost: only the records count."""

    def __init__(self, app: Celery, worker: str) -> None:
        self._app = app
        self._worker = worker

    def send(self, calls: Sequence[ShownCall]) -> bool:
        """Send the events of these calls; return whether the broker accepted them."""
        events = [self._event(call) for call in calls]
        connection = self._app.connection_for_write()
        exchange = get_exchange(connection, name=self._app.conf.event_exchange)
        away = (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)
        try:
            with self._app.producer_or_acquire() as producer:
                for first in range(0, len(events), _GROUP):
                    producer.publish(
                        events[first : first + _GROUP],
                        routing_key=_SEVERAL,
                        exchange=exchange.name,
                        declare=[exchange],
                        serializer="json",
                        headers={"hostname": self._worker},
                        delivery_mode=1,
                        retry=False,
                    )
        except away:
            return False
        return True

    def _event(self, call: ShownCall) -> dict[str, Any]:
        started_at_s = call.ended_at_s - call.runtime_s
        return {
            "type": _TYPES[call.state],
            "uuid": call.reference_id,
            "name": call.webhook,
            "args": "()",
            "kwargs": "{}",
            "result": call.result,
            "exception": None if call.state == "SUCCESS" else call.result,
            "runtime": call.runtime_s,
            "retries": call.retries,
            "routing_key": call.lane,
            "received": started_at_s,
            "started": started_at_s,
            "timestamp": call.ended_at_s,
            "hostname": self._worker,
            "pid": os.getpid(),
            "clock": self._app.clock.forward(),
            "utcoffset": utcoffset(),
        }
