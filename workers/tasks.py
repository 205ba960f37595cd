"""The one Celery task, which calls into ``relay``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.queue import RUN

if TYPE_CHECKING:
    from celery import Celery


def register(app: Celery) -> None:
    """Register the task with ``app``. Its messages are taken by `workers.lane_consumer`."""

    @app.task(name=RUN, ignore_result=True)
    def run(lane: str, partition: int) -> dict[str, int]:
        """Run the calls that wait in a lane; return three counts as soon as they have started."""
        counts: dict[str, int] = app.executor.run_waiting((lane,), partition)
        return counts
