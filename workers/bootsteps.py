"""What a worker process starts beside Celery's own parts, and how it ends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent
from celery import bootsteps

from relay import telemetry
from relay.runtime import worker_parts
from relay.settings import Settings
from relay.sweeper import PERIOD_S

if TYPE_CHECKING:
    from celery.worker import WorkController


class Executing(bootsteps.StartStopStep):
    """The executor: made before anything is consumed, drained after consuming has ended."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: WorkController, **_: Any) -> None:
        self._settings = Settings.from_environ()
        worker.sweeper = None

    def start(self, worker: WorkController) -> None:
        """Wire the parts: inside the started process, after gevent has patched it."""
        parts = worker_parts(self._settings, worker.app, worker.hostname, lanes=worker.app.amqp.queues.consume_from)
        worker.app.executor = parts.executor
        worker.sweeper = parts.sweeper

    def stop(self, worker: WorkController) -> None:
        """Let running calls end and give back those that have not left."""
        worker.app.executor.drain(self._settings.stop_timeout_s)


class Sweeping(bootsteps.StartStopStep):
    """The sweeper's timer."""

    requires = (Executing,)

    def __init__(self, _worker: WorkController, **_: Any) -> None:
        self._greenlet: gevent.Greenlet | None = None

    def start(self, worker: WorkController) -> None:
        """Sweep every second from now on."""
        self._greenlet = gevent.spawn(self._sweep_for_ever, worker.sweeper)

    def stop(self, _worker: WorkController) -> None:
        """Sweep no more."""
        if self._greenlet is not None:
            self._greenlet.kill()

    @staticmethod
    def _sweep_for_ever(sweeper: Any) -> None:
        while True:
            try:
                sweeper.sweep()
            except Exception as error:  # noqa: BLE001 - the sweeper is what repairs everything else: it must go on
                telemetry.fault(error, "sweep")
            gevent.sleep(PERIOD_S)
