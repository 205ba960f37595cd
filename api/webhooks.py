"""The resources that show a plugin which webhooks it may trigger and with what, but never their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.auth import TRIGGER
from api.json_answers import answer_with
from relay.declarations.calls import calls_of
from relay.declarations.typescript import MEDIA_TYPE, typescript_of
from relay.errors import WebhookNotRegistered
from relay.text.ids import ID_PATTERN
from relay.text.strict_json import dump_json
from relay.views import webhook_of

if TYPE_CHECKING:
    import falcon

    from relay.store.registry.webhooks import Registry


class WebhooksResource:
    """`GET /v1/webhooks`, `/v1/webhooks/{webhookId}` and `/v1/webhooks.d.ts`: the webhooks of the key's plugin."""

    scopes = TRIGGER

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the webhooks by id, without the hidden ones."""
        registered = self._registry.shapes(req.context.key.plugin)
        shown = [webhook_of(each.shape) for each in registered if not each.shape.hidden]
        answer_with(resp, dump_json({"webhooks": shown}))

    def on_get_types(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with TypeScript declarations of `/webhooks.js` and of the webhooks, without the hidden ones."""
        plugin = req.context.key.plugin
        calls = calls_of(each.shape for each in self._registry.shapes(plugin))
        answer_with(resp, typescript_of(plugin, calls).encode(), MEDIA_TYPE)

    def on_get_one(self, req: falcon.Request, resp: falcon.Response, webhook_id: str) -> None:
        """Show one webhook; raise ``WebhookNotRegistered`` if it is unknown, hidden or another plugin's."""
        found = None
        if ID_PATTERN.match(webhook_id):
            found = self._registry.current(req.context.key.plugin, webhook_id, refresh=True)
        if found is None or found[1].hidden:
            raise WebhookNotRegistered
        answer_with(resp, dump_json(webhook_of(found[1])))
