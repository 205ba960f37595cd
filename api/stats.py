"""The resources that answer with counts: what happened in each minute, and groups of similar failures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from api.auth import OPERATE
from api.queries import OverviewQuery, read_query
from relay.store.listing import Filter
from relay.store.measures import DAY_MS
from relay.text.media_types import JSON_TYPE
from relay.views import group_of, minute_of

if TYPE_CHECKING:
    import falcon

    from relay.store.listing import Listing
    from relay.store.measures import Measures

#: The most groups in one answer.
MAX_GROUPS: Final = 100
#: The most failed invocations that are read for one answer.
MAX_GROUPED: Final = 20_000


class StatsResource:
    """`GET /v1/stats`: one bucket a minute."""

    scopes = OPERATE

    def __init__(self, measures: Measures) -> None:
        self._measures = measures

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with every minute from ``since`` on, oldest first, including those in which nothing happened."""
        query = read_query(req, OverviewQuery)
        minutes = self._measures.minutes(req.context.key.plugin, query.get("since"), query.get("webhookId", ""))
        _answer(resp, {"buckets": [minute_of(minute) for minute in minutes]})

    on_head = on_get


class GroupsResource:
    """`GET /v1/groups`: the invocations in error by webhook, outcome and status."""

    scopes = OPERATE

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with the groups, most frequent first."""
        query = read_query(req, OverviewQuery)
        since_ms = query.get("since", int(time.time() * 1000) - DAY_MS)
        failed = Filter(webhook_id=query.get("webhookId"), since_ms=since_ms, error=True)
        counted = self._listing.newest_groups(req.context.key.plugin, failed, at_most=MAX_GROUPED)
        groups = [group_of(group) for group in counted.groups[:MAX_GROUPS]]
        _answer(resp, {"groups": groups, "complete": counted.complete and len(counted.groups) <= MAX_GROUPS})

    on_head = on_get


def _answer(resp: falcon.Response, value: dict[str, Any]) -> None:
    resp.set_header("Cache-Control", "no-store")
    resp.content_type, resp.data = JSON_TYPE, orjson.dumps(value)
