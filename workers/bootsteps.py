"""The boot steps that a worker process runs besides Celery's own, and how each of them ends."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import gevent
from celery import bootsteps
from celery.exceptions import WorkerShutdown
from celery.signals import worker_shutting_down
from gevent.hub import Hub

from relay.executor.scheduler import WAKE_S
from relay.metrics.gathering import PERIOD_S as REPORT_S
from relay.process import garbage
from relay.process.loops import Loop, repeat_until_done
from relay.settings import Settings
from relay.telemetry import log
from relay.upkeep.checkpointing import PERIOD_S as SIGNING_S
from relay.upkeep.sweeper import PERIOD_S
from relay.upkeep.watching import PERIOD_S as WATCHING_S
from relay.upkeep.watching import hear_all
from relay.wiring.worker_runtime import worker_parts
from workers.lane_poller import LANE_WAITS
from workers.task_events import TaskEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery.worker import WorkController

    from relay.metrics.gathering import Reporter
    from relay.metrics.shown_calls import ShownCall
    from relay.upkeep.alerts import Alerting
    from relay.wiring.worker_runtime import WorkerParts

#: The exit status of a worker that was told twice to stop.
HARD_STOP: Final = 70
#: How long, in seconds, Celery's own shutdown may take once every call is settled: some of its parts wait for a broker
#: that is silent or away.
GOODBYE_S: Final = 5.0
#: How long, in seconds, the last report may take.
LAST_REPORT_S: Final = 2.0


class Executing(bootsteps.StartStopStep):
    """Boot step of the executor: makes it before any message is consumed, and drains it when the worker has to stop.

    The drain begins with the signal, and waits for nothing of Celery's, which may wait for the broker.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: WorkController, **_: Any) -> None:
        self._settings = Settings.from_environ()
        self._worker = worker
        self._told_to_stop = 0
        self._end: gevent.Greenlet | None = None
        worker.parts = None
        worker_shutting_down.connect(self._on_signal, weak=False)

    def start(self, worker: WorkController) -> None:
        """Make the worker's parts, in the started process, after gevent has patched it.

        Wait until the store has the functions that they call: a worker without them would only lose messages.
        """
        lanes = worker.app.amqp.queues.consume_from
        parts = worker_parts(self._settings, worker.app, worker.hostname, lanes=lanes)
        worker.app.executor = parts.executor
        worker.parts = parts
        repeat_until_done(parts.runtime.functions.check, "start", self._pause)
        if self._told_to_stop:  # perhaps before there was anything to drain
            raise WorkerShutdown(0)
        gevent.get_hub().handle_error = _note_failed_greenlet
        garbage.set_for_serving()

    def stop(self, _worker: WorkController) -> None:
        """Wait until the drain is done; begin it if no signal has."""
        self._begin_to_end().join()

    def _begin_to_end(self) -> gevent.Greenlet:
        if self._end is None:
            self._end = gevent.spawn(self._drain)
        return self._end

    def _drain(self) -> None:
        """Give back the calls that have not been sent, and let the others end. Soon after that, the process ends."""
        worker = self._worker
        try:
            if worker.parts is not None:
                worker.parts.executor.drain(self._settings.stop_timeout_s)
                # A report that fails or hangs must not keep the worker from ending.
                with suppress(Exception), gevent.Timeout(LAST_REPORT_S, exception=False):
                    worker.parts.reporter.report(TaskEvents(worker.app, worker.hostname).send)
                    worker.parts.spans.flush()
        finally:
            gevent.spawn_later(GOODBYE_S, os._exit, worker.exitcode or 0)

    def _pause(self, wait_s: float) -> None:
        gevent.sleep(wait_s)
        if self._told_to_stop:
            raise WorkerShutdown(0)

    def _on_signal(self, **_: Any) -> None:
        """Begin to stop; at a second signal, end at once: no call is lost, as each in flight has a lease."""
        self._told_to_stop += 1
        if self._told_to_stop > 1:
            os._exit(HARD_STOP)
        LANE_WAITS.end()
        self._begin_to_end()


class Looping(bootsteps.StartStopStep):
    """Boot step that runs loops beside the executor, each in its own greenlet, so that none holds up another."""

    def __init__(self, _worker: WorkController, **_: Any) -> None:
        self._greenlets: list[gevent.Greenlet] = []

    def start(self, worker: WorkController) -> None:
        """Start the loops."""
        self._greenlets = [gevent.spawn(Loop(name, iterate, gevent.sleep).run) for name, iterate in self.loops(worker)]

    def stop(self, _worker: WorkController) -> None:
        """Stop the loops."""
        gevent.killall(self._greenlets)

    def loops(self, worker: WorkController) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield each loop's name and the step that it repeats."""
        raise NotImplementedError


class Upkeep(Looping):
    """Boot step for what a worker does besides calls; the executor's boot step reports once more after its drain."""

    requires = (Executing,)

    def loops(self, worker: WorkController) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield what wakes parked calls, sweeps, sends alerts, reports, signs audit trails and watches chains."""
        parts: WorkerParts = worker.parts
        yield "wake", partial(_then_wait, parts.executor.scheduler.wake, WAKE_S)
        yield "sweep", partial(_then_wait, partial(_sweep, parts), PERIOD_S)
        if parts.alerting is not None:
            yield "alerts", partial(_look_for_alerts, parts.alerting)
        yield "report", partial(_report, parts.reporter, TaskEvents(worker.app, worker.hostname).send)
        for checkpointing in parts.checkpointing:
            yield "audit", partial(_then_wait, checkpointing.iterate, SIGNING_S)
        for watching in parts.watching:
            yield "chains", partial(_then_wait, watching.look, WATCHING_S)
        yield "heads", partial(hear_all, parts.runtime.heads, parts.watching)


def _then_wait(step: Callable[[], object], pause_s: float) -> None:
    step()
    gevent.sleep(pause_s)


def _sweep(parts: WorkerParts) -> None:
    parts.sweeper.sweep()
    parts.executor.look()


def _look_for_alerts(alerting: Alerting) -> None:
    gevent.sleep(PERIOD_S)
    alerting.look()


def _report(reporter: Reporter, show: Callable[[Sequence[ShownCall]], object]) -> None:
    gevent.sleep(REPORT_S)
    try:
        reporter.report(show)
    except Exception as error:  # noqa: BLE001 - calls continue even if reports fail
        log.fault(error, "report")


def _note_failed_greenlet(context: object, kind: type[BaseException], error: BaseException, trace: object) -> None:
    """Log that a greenlet has failed, instead of printing its error, which may quote private data."""
    if issubclass(kind, Exception):
        log.fault(error.with_traceback(trace) if isinstance(trace, TracebackType) else error, "greenlet")
    else:
        Hub.handle_error(gevent.get_hub(), context, kind, error, trace)
