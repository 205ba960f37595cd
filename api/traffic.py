"""The resources with which operators see the traffic of a plugin's webhooks, and stop or resume it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from api.auth import OPERATE
from relay.errors import WebhookNotRegistered
from relay.text.ids import ID_PATTERN
from relay.text.media_types import JSON_TYPE
from relay.text.moments import rfc3339
from relay.views import traffic_of

if TYPE_CHECKING:
    import falcon

    from relay.traffic import TrafficControl

STEPS: Final = ("pause", "resume", "close-breaker")


class TrafficResource:
    """`GET /v1/traffic`: every webhook of the plugin."""

    scopes = OPERATE

    def __init__(self, traffic: TrafficControl) -> None:
        self._traffic = traffic

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with each webhook's counts of a day, and with how its calls stand now."""
        report = self._traffic.report(req.context.key.plugin)
        webhooks = [traffic_of(webhook) for webhook in report.webhooks]
        _answer(resp, {"since": rfc3339(report.since_ms), "webhooks": webhooks})

    on_head = on_get


class WebhookSteeringResource:
    """`POST /v1/webhooks/{webhookId}/pause`, `resume`, `close-breaker`: one action, without a body."""

    scopes = OPERATE

    def __init__(self, traffic: TrafficControl, action: str) -> None:
        actions = {"pause": "pause", "resume": "resume", "close-breaker": "close_breaker"}
        self._traffic, self._action = traffic, actions[action]

    def on_post(self, req: falcon.Request, resp: falcon.Response, webhook_id: str) -> None:
        """Take the action, and answer with how the webhook's calls flow afterwards."""
        if not ID_PATTERN.match(webhook_id):
            raise WebhookNotRegistered
        steer = getattr(self._traffic, self._action)
        webhook = steer(req.context.key.plugin, webhook_id)
        req.context.is_audited = True  # the script that did it wrote an entry
        _answer(resp, traffic_of(webhook))


def _answer(resp: falcon.Response, value: dict[str, Any]) -> None:
    resp.set_header("Cache-Control", "no-store")
    resp.content_type, resp.data = JSON_TYPE, orjson.dumps(value)
