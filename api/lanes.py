"""The resource that shows the lanes and how many calls wait in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from api.auth import OPERATE
from api.json_answers import answer_with
from api.queries import LanesQuery, read_query
from relay.queue import LANES
from relay.store.health.workers import known_workers, workers_by_lane
from relay.views import backlog_minute_of, lane_of

if TYPE_CHECKING:
    import falcon

    from relay.store.counts.backlog import Backlog
    from relay.store.health.workers import Workers


class LanesResource:
    """`GET /v1/lanes`: the lanes of the whole relay, which all plugins share."""

    scopes = OPERATE
    query = LanesQuery

    def __init__(self, backlog: Backlog, workers: Workers) -> None:
        self._backlog = backlog
        self._workers = workers

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with the lanes, most urgent first; with ``since``, also with the calls that waited in each minute."""
        query = read_query(req, self.query)
        workers = known_workers(self._workers)
        alive = dict.fromkeys(LANES) if workers is None else workers_by_lane(workers, LANES)
        lanes = [lane_of(each, alive[each.lane]) for each in self._backlog.of(LANES)]
        answer: dict[str, Any] = {"lanes": lanes}
        if "since" in query:
            answer["minutes"] = [backlog_minute_of(each) for each in self._backlog.minutes(LANES, query["since"])]
        answer_with(resp, orjson.dumps(answer))

    on_head = on_get
