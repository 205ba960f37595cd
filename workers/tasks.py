"""The tasks: each one call into ``relay``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.queue import RUN

if TYPE_CHECKING:
    from celery import Celery


def register(app: Celery) -> None:
    """Give ``app`` its tasks.

    Their backend keeps nothing; one of their own, for Celery makes the app's anew in every greenlet, 40 us a message.
    """

    @app.task(name=RUN, ignore_result=True, backend=app.backend)
    def run(reference_ids: list[str]) -> dict[str, int]:
        """Run the invocations with these ids; ends when their calls have started."""
        counts: dict[str, int] = app.executor.run(reference_ids)
        return counts
