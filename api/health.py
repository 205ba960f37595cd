"""The resources for probes of liveness and readiness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from api.json_answers import answer_with
from api.problems import problem_of
from relay.errors import Unavailable
from relay.queue import LANES, URGENT
from relay.store.health.workers import known_workers, workers_by_lane

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import falcon

    from relay.store.backups.epoch import Epochs
    from relay.store.health.readiness import ServerWarnings
    from relay.store.health.workers import LiveWorker, Workers
    from relay.store.partitions.reachable import Partitions, Silence
    from relay.store.scripting.loading import Functions


class HealthResource:
    """`GET /healthz`: the process answers."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with 200."""
        answer_with(resp, b'{"status":"ok"}')


class ReadyResource:
    """`GET /readyz`: some part of the store can be reached, is not fenced and has the functions; workers are alive."""

    def __init__(
        self,
        partitions: Partitions,
        functions: Functions,
        epochs: Epochs,
        workers: Workers,
        warnings: ServerWarnings,
    ) -> None:
        self._partitions = partitions
        self._functions = functions
        self._epochs = epochs
        self._workers = workers
        self._warnings = warnings

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 with the number of workers of each lane and warnings, or 503 with what is missing.

        While a part of the store is silent, the others are served; the numbers that it holds are null.
        """
        try:
            silence, server_warnings = self._partitions.silence(), self._warnings.now()
        except Unavailable:
            raise Unavailable("Redis cannot be reached.") from None
        self._functions.check()
        if not silence.shared:
            self._epochs.check()
        alive = None if silence.shared else known_workers(self._workers)
        lanes = None if alive is None else workers_by_lane(alive)
        found = {
            "workers": None if alive is None else len(alive),
            "lanes": lanes or dict.fromkeys(LANES),
            "warnings": [*_warnings_of(silence, lanes), *server_warnings],
        }
        missing = None if lanes is None else _missing(alive or [], lanes)
        if missing:
            problem = problem_of(Unavailable(missing))
            problem.document.update(found)
            req.context.code = problem.document["code"]
            problem.write(resp)
            return
        answer_with(resp, orjson.dumps({"status": "ready", "redis": "ok", **found}))


def _warnings_of(silence: Silence, lanes: Mapping[str, int] | None) -> Iterator[str]:
    if silence:
        yield silence.sentence
    for lane, count in (lanes or {}).items():
        if not count:
            yield f"No worker serves the lane {lane}: its calls are kept and wait."


def _missing(alive: list[LiveWorker], lanes: Mapping[str, int]) -> str | None:
    """Return why awaited triggers cannot be served now; None if they can."""
    if not alive:
        return "No worker is alive."
    return None if lanes[URGENT] else f"No worker serves the lane {URGENT}."
