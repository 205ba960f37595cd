"""The boot steps that a worker process runs beside Celery's own, and how each of them ends."""

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

from relay.metrics.reporting import PERIOD_S as REPORT_S
from relay.process import garbage
from relay.process.loops import Loop, repeat_until_done
from relay.queue import URGENT
from relay.settings import Settings
from relay.telemetry import log
from relay.upkeep.checkpointing import PERIOD_S as SIGNING_S
from relay.upkeep.sweeper import PERIOD_S
from relay.upkeep.watching import PERIOD_S as WATCHING_S
from relay.upkeep.watching import hear_all
from relay.wiring.worker_runtime import worker_parts
from workers.lane_poller import LANE_WAITS
from workers.lanes import save_dropped_counts
from workers.task_events import TaskEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.worker import WorkController

    from relay.metrics.reporting import Reporter
    from relay.metrics.shown_calls import ShownCall
    from relay.upkeep.checkpointing import Checkpointing
    from relay.upkeep.watching import Watching
    from relay.wiring.worker_runtime import WorkerParts

#: The exit status of a worker that was told twice to stop, or that did not stop in time.
HARD_STOP: Final = 70
#: How long, in seconds, Celery's own shutdown may take once every call is settled: its heartbeat would wait forever for
#: a broker that is away, and the rest of Celery for the heartbeat.
GOODBYE_S: Final = 5.0
#: How long, in seconds, the last report may take.
LAST_REPORT_S: Final = 2.0
#: The niceness (nice(2)) of a worker that does not serve the urgent lane: draining the other lanes may use idle
#: processor time, but must not take any from callers who wait.
BACKGROUND: Final = 19


class Executing(bootsteps.StartStopStep):
    """Boot step of the executor: makes it before any message is consumed, drains it after consuming has ended."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: WorkController, **_: Any) -> None:
        self._settings = Settings.from_environ()
        self._told_to_stop = 0
        self._guard: gevent.Greenlet | None = None
        worker.parts = None
        worker_shutting_down.connect(self._on_signal, weak=False)

    def start(self, worker: WorkController) -> None:
        """Make the worker's parts, in the started process, after gevent has patched it.

        Wait until the store has the functions that they call: a worker without them would only lose messages.
        """
        lanes = worker.app.amqp.queues.consume_from
        if URGENT not in lanes:
            os.nice(BACKGROUND)
        parts = worker_parts(self._settings, worker.app, worker.hostname, lanes=lanes)
        worker.app.executor = parts.executor
        worker.parts = parts
        repeat_until_done(parts.runtime.functions.check, "start", self._pause)
        gevent.get_hub().handle_error = _note_failed_greenlet
        garbage.set_for_serving()

    def stop(self, worker: WorkController) -> None:
        """Let running calls end, and give back those that have not been sent."""
        if self._guard is not None:
            self._guard.kill()  # from here on, the drain's own time limit applies
        worker.app.executor.drain(self._settings.stop_timeout_s)
        # A report that fails or hangs must not keep the worker from ending.
        with suppress(Exception), gevent.Timeout(LAST_REPORT_S, exception=False):
            worker.parts.reporter.report(TaskEvents(worker.app, worker.hostname).send)
            worker.parts.spans.flush()
        gevent.spawn_later(GOODBYE_S, os._exit, worker.exitcode or 0)

    def _pause(self, wait_s: float) -> None:
        gevent.sleep(wait_s)
        if self._told_to_stop:
            raise WorkerShutdown(0)

    def _on_signal(self, **_: Any) -> None:
        """Begin to stop; at a second signal, end the process at once. No call is lost, as each in flight has a lease.

        The process also ends if the parts that Celery stops before the executor do not end in time.
        """
        self._told_to_stop += 1
        if self._told_to_stop > 1:
            os._exit(HARD_STOP)
        LANE_WAITS.end()
        self._guard = gevent.spawn_later(self._settings.stop_timeout_s + GOODBYE_S, os._exit, HARD_STOP)


class Reporting(bootsteps.StartStopStep):
    """Boot step that runs the reporter."""

    requires = (Executing,)

    def __init__(self, _worker: WorkController, **_: Any) -> None:
        self._greenlet: gevent.Greenlet | None = None

    def start(self, worker: WorkController) -> None:
        """Start to report every second."""
        show = TaskEvents(worker.app, worker.hostname).send
        self._greenlet = gevent.spawn(self._report_for_ever, worker.parts.reporter, show)

    def stop(self, _worker: WorkController) -> None:
        """Stop reporting; the executor's boot step reports once more after its drain."""
        if self._greenlet is not None:
            self._greenlet.kill()

    @staticmethod
    def _report_for_ever(reporter: Reporter, show: Callable[[Sequence[ShownCall]], object]) -> None:
        while True:
            gevent.sleep(REPORT_S)
            try:
                reporter.report(show)
            except Exception as error:  # noqa: BLE001 - calls go on even if reports fail
                log.fault(error, "report")


class Refilling(bootsteps.StartStopStep):
    """Boot step that looks for parked calls that may be sent now."""

    requires = (Executing,)

    def __init__(self, _worker: WorkController, **_: Any) -> None:
        self._greenlet: gevent.Greenlet | None = None

    def start(self, worker: WorkController) -> None:
        """Start to look for such calls, several times a second."""
        self._greenlet = gevent.spawn(Loop("wake", worker.parts.executor.waking.iterate, gevent.sleep).run)

    def stop(self, _worker: WorkController) -> None:
        """Stop looking for parked calls."""
        if self._greenlet is not None:
            self._greenlet.kill()


class Sweeping(bootsteps.StartStopStep):
    """Boot step that runs the sweeper and the alerting."""

    requires = (Executing,)

    def __init__(self, _worker: WorkController, **_: Any) -> None:
        self._greenlets: list[gevent.Greenlet] = []

    def start(self, worker: WorkController) -> None:
        """Start to sweep, and to look for alerts, every second."""
        loops = {"sweep": partial(self._iterate, worker.parts), "alerts": partial(self._look, worker.parts)}
        self._greenlets = [gevent.spawn(Loop(name, iterate, gevent.sleep).run) for name, iterate in loops.items()]

    def stop(self, _worker: WorkController) -> None:
        """Stop the sweeper and the alerting."""
        gevent.killall(self._greenlets)

    @staticmethod
    def _iterate(parts: WorkerParts) -> None:
        parts.sweeper.sweep()
        parts.executor.look()
        save_dropped_counts(parts.workers)
        gevent.sleep(PERIOD_S)

    @staticmethod
    def _look(parts: WorkerParts) -> None:
        gevent.sleep(PERIOD_S)
        if parts.alerting is not None:
            parts.alerting.look()


class Signing(bootsteps.StartStopStep):
    """Boot step that signs the audit trails and watches all chains, each apart: one that is away holds up no other."""

    requires = (Executing,)

    def __init__(self, _worker: WorkController, **_: Any) -> None:
        self._greenlets: list[gevent.Greenlet] = []

    def start(self, worker: WorkController) -> None:
        """Start to sign every few seconds, to watch every second, and to hear what other processes have seen."""
        parts = worker.parts
        iterations = [
            *(("audit", partial(self._iterate, each)) for each in parts.checkpointing),
            *(("chains", partial(self._watch, each)) for each in parts.watching),
            ("heads", partial(hear_all, parts.heads, parts.watching)),
        ]
        self._greenlets = [gevent.spawn(Loop(name, iterate, gevent.sleep).run) for name, iterate in iterations]

    def stop(self, _worker: WorkController) -> None:
        """Stop signing; another worker goes on, or this one after it is started again."""
        gevent.killall(self._greenlets)

    @staticmethod
    def _watch(watching: Watching) -> None:
        watching.look()
        gevent.sleep(WATCHING_S)

    @staticmethod
    def _iterate(checkpointing: Checkpointing) -> None:
        checkpointing.iterate()
        gevent.sleep(SIGNING_S)


def _note_failed_greenlet(context: object, kind: type[BaseException], error: BaseException, trace: object) -> None:
    """Log that a greenlet has failed, instead of printing its error, which may quote private data."""
    if issubclass(kind, Exception):
        log.fault(error.with_traceback(trace) if isinstance(trace, TracebackType) else error, "greenlet")
    else:
        Hub.handle_error(gevent.get_hub(), context, kind, error, trace)
