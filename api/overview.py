"""The resources with which operators watch traffic and steer webhooks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from api.auth import METRICS, OPERATE
from api.json_answers import answer_with
from api.queries import LanesQuery, OverviewQuery, read_query
from relay.errors import WebhookNotRegistered
from relay.metrics.page import MEDIA_TYPE
from relay.queue import LANES
from relay.store.counts.measures import DAY_MS
from relay.store.health.workers import known_workers, workers_by_lane
from relay.store.ledger.listing import Filter
from relay.text.ids import ID_PATTERN
from relay.text.timestamps import rfc3339
from relay.views import backlog_minute_of, group_of, lane_of, minute_of, traffic_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import falcon

    from relay.metrics.page import MetricsPage
    from relay.store.counts.backlog import Backlog
    from relay.store.counts.measures import Measures
    from relay.store.health.workers import Workers
    from relay.store.ledger.listing import Listing
    from relay.traffic import TrafficControl, WebhookTraffic

#: The most groups in one answer.
MAX_GROUPS: Final = 100
#: How many failed invocations are read for one answer at most.
MAX_GROUPED: Final = 20_000


class StatsResource:
    """`GET /v1/stats`: one bucket a minute."""

    scopes = OPERATE
    query = OverviewQuery

    def __init__(self, measures: Measures) -> None:
        self._measures = measures

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with every minute from ``since`` on, oldest first, including those in which nothing happened."""
        query = read_query(req, self.query)
        minutes = self._measures.minutes(req.context.key.plugin, query.get("since"), query.get("webhookId", ""))
        answer_with(resp, orjson.dumps({"buckets": [minute_of(minute) for minute in minutes]}))


class GroupsResource:
    """`GET /v1/groups`: what failed, unless a replay has succeeded, by webhook, outcome and status."""

    scopes = OPERATE
    query = OverviewQuery

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with the groups, most frequent first."""
        query = read_query(req, self.query)
        since_ms = query.get("since", int(time.time() * 1000) - DAY_MS)
        failed = Filter(webhook_id=query.get("webhookId"), since_ms=since_ms, error=True, unreplayed=True)
        counted = self._listing.newest_groups(req.context.key.plugin, failed, at_most=MAX_GROUPED)
        groups = [group_of(group) for group in counted.groups[:MAX_GROUPS]]
        is_complete = counted.complete and len(counted.groups) <= MAX_GROUPS
        answer_with(resp, orjson.dumps({"groups": groups, "complete": is_complete}))


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
        alive = dict.fromkeys(LANES) if workers is None else workers_by_lane(workers)
        lanes = [lane_of(each, alive[each.lane]) for each in self._backlog.of(LANES)]
        answer: dict[str, Any] = {"lanes": lanes}
        if "since" in query:
            answer["minutes"] = [backlog_minute_of(each) for each in self._backlog.minutes(LANES, query["since"])]
        answer_with(resp, orjson.dumps(answer))


class TrafficResource:
    """`GET /v1/traffic`: every webhook of the plugin."""

    scopes = OPERATE

    def __init__(self, traffic: TrafficControl) -> None:
        self._traffic = traffic

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with each webhook's counts of a day, and with the present state of its calls."""
        plugin = req.context.key.plugin
        report = self._traffic.report(plugin)
        webhooks = [traffic_of(webhook) for webhook in report.webhooks]
        answer_with(resp, orjson.dumps({"plugin": plugin, "since": rfc3339(report.since_ms), "webhooks": webhooks}))


class WebhookSteeringResource:
    """`POST /v1/webhooks/{webhookId}/pause`, `resume`, `close-breaker`: one action, without a body."""

    scopes = OPERATE

    def __init__(self, steer: Callable[[str, str], WebhookTraffic]) -> None:
        self._steer = steer

    def on_post(self, req: falcon.Request, resp: falcon.Response, webhook_id: str) -> None:
        """Take the action, and answer with how the webhook's calls flow afterwards."""
        if not ID_PATTERN.match(webhook_id):
            raise WebhookNotRegistered
        webhook = self._steer(req.context.key.plugin, webhook_id)
        req.context.is_audited = True  # the script that did it wrote an entry
        answer_with(resp, orjson.dumps(traffic_of(webhook)))


class MetricsResource:
    """`GET /metrics`: for keys with the scope `metrics`, or open to all."""

    def __init__(self, page: MetricsPage, *, is_open: bool) -> None:
        self._page = page
        self.scopes = frozenset[str]() if is_open else METRICS

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with the metrics of the whole relay, and of this process."""
        answer_with(resp, self._page.text(), MEDIA_TYPE)
