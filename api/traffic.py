"""The resources with which operators see the traffic of a plugin's webhooks, and stop or resume it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from api.auth import OPERATE
from api.json_answers import answer_with
from relay.errors import WebhookNotRegistered
from relay.text.ids import ID_PATTERN
from relay.text.timestamps import rfc3339
from relay.views import traffic_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import falcon

    from relay.traffic import TrafficControl, WebhookTraffic


class TrafficResource:
    """`GET /v1/traffic`: every webhook of the plugin."""

    scopes = OPERATE

    def __init__(self, traffic: TrafficControl) -> None:
        self._traffic = traffic

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with each webhook's counts of a day, and with how its calls stand now."""
        plugin = req.context.key.plugin
        report = self._traffic.report(plugin)
        webhooks = [traffic_of(webhook) for webhook in report.webhooks]
        answer_with(resp, orjson.dumps({"plugin": plugin, "since": rfc3339(report.since_ms), "webhooks": webhooks}))

    on_head = on_get


class WebhookSteeringResource:
    """`POST /v1/webhooks/{webhookId}/pause`, `resume`, `close-breaker`: one action, without a body."""

    scopes = OPERATE

    def __init__(self, steer: Callable[[str, str], WebhookTraffic]) -> None:
        self._steer = steer

    @classmethod
    def by_action(cls, traffic: TrafficControl) -> dict[str, WebhookSteeringResource]:
        """Return a resource for each action, by the action's name in the path."""
        return {
            "pause": cls(traffic.pause),
            "resume": cls(traffic.resume),
            "close-breaker": cls(traffic.close_breaker),
        }

    def on_post(self, req: falcon.Request, resp: falcon.Response, webhook_id: str) -> None:
        """Take the action, and answer with how the webhook's calls flow afterwards."""
        if not ID_PATTERN.match(webhook_id):
            raise WebhookNotRegistered
        webhook = self._steer(req.context.key.plugin, webhook_id)
        req.context.is_audited = True  # the script that did it wrote an entry
        answer_with(resp, orjson.dumps(traffic_of(webhook)))
