"""The Celery app, its lanes, task and log, which is all that Flower needs; `workers.app` adds a worker's steps."""

from __future__ import annotations

import workers.clean_start  # noqa: F401 - it may restart the process, so nothing large is imported before it

# isort: split
from celery.signals import setup_logging

from relay.queue import RUN, make_app
from relay.settings import Settings
from relay.telemetry import log
from workers.lanes import use_checked_transports

settings = Settings.from_environ()
log.configure(settings.log_level)  # before Celery logs: a log that nobody reads must not block the start
app = make_app(settings)
use_checked_transports()


@app.task(name=RUN, ignore_result=True)
def run(lane: str, partition: int) -> dict[str, int]:
    """Run the calls that wait in a lane; return three counts as soon as they have started.

    `workers.lane_consumer` takes the task's messages.
    """
    counts: dict[str, int] = app.executor.run_waiting((lane,), partition)
    return counts


@setup_logging.connect
def _log_as_json(**_: object) -> None:
    log.configure(settings.log_level)
