"""The resources that answer with counts: what happened in each minute, and groups of similar failures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import orjson

from api.auth import OPERATE
from api.json_answers import answer_with
from api.queries import OverviewQuery, read_query
from relay.store.counts.measures import DAY_MS
from relay.store.ledger.listing import Filter
from relay.views import group_of, minute_of

if TYPE_CHECKING:
    import falcon

    from relay.store.counts.measures import Measures
    from relay.store.ledger.listing import Listing

#: The most groups in one answer.
MAX_GROUPS: Final = 100
#: The most failed invocations that are read for one answer.
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

    on_head = on_get


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

    on_head = on_get
