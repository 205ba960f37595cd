"""What a worker process starts beside Celery's own parts, and how it ends them."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import gevent
from celery import bootsteps
from celery.signals import worker_shutting_down
from gevent.hub import Hub

from relay.audit.checkpointing import PERIOD_S as SIGNING_S
from relay.metrics.reporting import PERIOD_S as REPORT_S
from relay.process import garbage
from relay.process.loops import Loop
from relay.queue import URGENT
from relay.settings import Settings
from relay.telemetry import log
from relay.upkeep.sweeper import PERIOD_S
from relay.worker_runtime import worker_parts
from workers.lane_poller import LANE_WAITS
from workers.lanes import write_down_dropped
from workers.task_events import TaskEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.worker import WorkController

    from relay.metrics.reporting import Reporter
    from relay.metrics.shown_calls import ShownCall
    from relay.worker_runtime import WorkerParts

#: The exit status of a worker that was told twice to stop.
HARD_STOP: Final = 70
#: For how long Celery may say goodbye when everything is settled: its heartbeat would wait for good for a broker that
#: is away, and the rest of it for the heartbeat.
GOODBYE_S: Final = 5.0
#: How long the last report may take.
LAST_REPORT_S: Final = 2.0
#: How much later than others a worker that does not serve it gets the machine's time (nice(2)): a drain uses whatever
#: is left, and must not take it from somebody who waits.
BACKGROUND: Final = 19


class Executing(bootsteps.StartStopStep):
    """The executor: made before anything is consumed, drained after consuming has ended."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: WorkController, **_: Any) -> None:
        self._settings = Settings.from_environ()
        self._told_to_stop = 0
        self._guard: gevent.Greenlet | None = None
        worker.parts = None
        worker_shutting_down.connect(self._on_signal, weak=False)

    def start(self, worker: WorkController) -> None:
        """Wire the parts: inside the started process, after gevent has patched it."""
        lanes = worker.app.amqp.queues.consume_from
        if URGENT not in lanes:
            os.nice(BACKGROUND)
        parts = worker_parts(self._settings, worker.app, worker.hostname, lanes=lanes)
        worker.app.executor = parts.executor
        worker.parts = parts
        gevent.get_hub().handle_error = _note_failed_greenlet
        garbage.set_for_serving()

    def stop(self, worker: WorkController) -> None:
        """Let running calls end and give back those that have not left."""
        if self._guard is not None:
            self._guard.kill()  # from here on the drain's own time counts
        worker.app.executor.drain(self._settings.stop_timeout_s)
        # What is said keeps no worker from ending.
        with suppress(Exception), gevent.Timeout(LAST_REPORT_S, exception=False):
            worker.parts.reporter.report(TaskEvents(worker.app, worker.hostname).send)
            worker.parts.spans.flush()
        gevent.spawn_later(GOODBYE_S, os._exit, worker.exitcode or 0)

    def _on_signal(self, **_: Any) -> None:
        """Told a second time to stop: at once. Nothing is lost, for every call in flight has a lease.

        The same when what Celery stops before the executor does not end.
        """
        self._told_to_stop += 1
        if self._told_to_stop > 1:
            os._exit(HARD_STOP)
        LANE_WAITS.end()
        self._guard = gevent.spawn_later(self._settings.stop_timeout_s + GOODBYE_S, os._exit, HARD_STOP)


class Reporting(bootsteps.StartStopStep):
    """The reporter's timer."""

    requires = (Executing,)

    def __init__(self, _worker: WorkController, **_: Any) -> None:
        self._greenlet: gevent.Greenlet | None = None

    def start(self, worker: WorkController) -> None:
        """Report every second from now on."""
        show = TaskEvents(worker.app, worker.hostname).send
        self._greenlet = gevent.spawn(self._report_for_ever, worker.parts.reporter, show)

    def stop(self, _worker: WorkController) -> None:
        """Report no more: the drain does so once more at its end."""
        if self._greenlet is not None:
            self._greenlet.kill()

    @staticmethod
    def _report_for_ever(reporter: Reporter, show: Callable[[Sequence[ShownCall]], object]) -> None:
        while True:
            gevent.sleep(REPORT_S)
            try:
                reporter.report(show)
            except Exception as error:  # noqa: BLE001 - calls go on whatever becomes of what is said of them
                log.fault(error, "report")


class Refilling(bootsteps.StartStopStep):
    """Looks for parked calls that there is room for."""

    requires = (Executing,)

    def __init__(self, _worker: WorkController, **_: Any) -> None:
        self._greenlet: gevent.Greenlet | None = None

    def start(self, worker: WorkController) -> None:
        """Look from now on, several times a second."""
        self._greenlet = gevent.spawn(Loop("wake", worker.parts.executor.waking.iterate, gevent.sleep).run)

    def stop(self, _worker: WorkController) -> None:
        """Look no more."""
        if self._greenlet is not None:
            self._greenlet.kill()


class Sweeping(bootsteps.StartStopStep):
    """The timer of the sweeper, and of whoever looks whether something is wrong."""

    requires = (Executing,)

    def __init__(self, _worker: WorkController, **_: Any) -> None:
        self._greenlets: list[gevent.Greenlet] = []

    def start(self, worker: WorkController) -> None:
        """Sweep every second from now on."""
        loops = {"sweep": partial(self._iterate, worker.parts), "alerts": partial(self._look, worker.parts)}
        self._greenlets = [gevent.spawn(Loop(name, iterate, gevent.sleep).run) for name, iterate in loops.items()]

    def stop(self, _worker: WorkController) -> None:
        """Sweep no more."""
        gevent.killall(self._greenlets)

    @staticmethod
    def _iterate(parts: WorkerParts) -> None:
        parts.sweeper.sweep()
        write_down_dropped(parts.workers)
        gevent.sleep(PERIOD_S)

    @staticmethod
    def _look(parts: WorkerParts) -> None:
        gevent.sleep(PERIOD_S)
        parts.alerting.look()


class Signing(bootsteps.StartStopStep):
    """The timer of the audit trail's checkpoints."""

    requires = (Executing,)

    def __init__(self, _worker: WorkController, **_: Any) -> None:
        self._greenlet: gevent.Greenlet | None = None

    def start(self, worker: WorkController) -> None:
        """Sign every few seconds from now on."""
        self._greenlet = gevent.spawn(Loop("audit", partial(self._iterate, worker.parts), gevent.sleep).run)

    def stop(self, _worker: WorkController) -> None:
        """Sign no more: another worker does, or this one when it is started again."""
        if self._greenlet is not None:
            self._greenlet.kill()

    @staticmethod
    def _iterate(parts: WorkerParts) -> None:
        for each in parts.checkpointing:
            each.iterate()
        gevent.sleep(SIGNING_S)


def _note_failed_greenlet(context: object, kind: type[BaseException], error: BaseException, trace: object) -> None:
    """Say in the log that a greenlet has failed, instead of printing what its error quotes."""
    if issubclass(kind, Exception):
        log.fault(error.with_traceback(trace) if isinstance(trace, TracebackType) else error, "greenlet")
    else:
        Hub.handle_error(gevent.get_hub(), context, kind, error, trace)
