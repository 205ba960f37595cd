"""Takes a message of a lane as a hint that calls wait: it reads a lane and a partition from it, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from celery.utils.functional import noop
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer

from relay.queue import LANES, RUN
from workers.lanes import drop

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu import Message

_logger: Final = get_logger(__name__)


class LaneConsumer(Consumer):
    """Celery's consumer, which makes no request of a message and traces none.

    That took a tenth of a worker's time where calls came one by one, and did whatever the message's writer asked for:
    links to other tasks, chords, replies, times. Messages that name nothing are dropped, so that none comes again.
    """

    def create_task_handler(self, **_: object) -> Callable[[Message], None]:
        """Return the function that takes a message."""
        run = self.app.tasks[RUN].run

        def take(message: Message) -> None:
            named = _named_by(message)
            if named is None:
                self.on_decode_error(message, None)
            else:
                self.pool.apply_async(run, named, callback=noop, accept_callback=lambda *_: self._acknowledge(message))

        return take

    def on_decode_error(self, message: Message, exc: Exception | None) -> None:  # noqa: ARG002 - it quotes the message
        """Drop a message that cannot be read."""
        lane = message.delivery_info.get("routing_key")
        drop(lane if lane in LANES else "broker")
        self._acknowledge(message)

    def _acknowledge(self, message: Message) -> None:
        """Acknowledge a message as Celery's requests do: a failure is logged, and what comes next goes on."""
        self.call_soon_ack(message.ack_log_error, _logger, self.connection_errors)


def _named_by(message: Message) -> tuple[str, int] | None:
    """Return the lane and the partition that a message names; None if it is none of ours."""
    try:
        body: Any = message.payload
        lane, partition = body[0]
    except Exception:  # noqa: BLE001 - whoever writes to the broker chooses how the reading fails
        return None
    return (lane, partition) if lane in LANES and type(partition) is int else None
