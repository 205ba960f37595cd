"""The resource that outlines the trigger of an invocation for operators: names and sizes, never values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from api.auth import OPERATE
from api.invocations import REFERENCE_ID
from api.json_answers import answer_with
from relay.errors import NotFound, VaultError
from relay.request.outline import MAX_OUTLINED_BYTES, outline_of
from relay.vault import payload_owner
from relay.views import outline_parts

if TYPE_CHECKING:
    import falcon

    from relay.domain.invocation import Invocation
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.registry.webhooks import Registry
    from relay.vault import Vault


class OutlineResource:
    """`GET /v1/invocations/{referenceId}/request`: opens the trigger, and keeps nothing of it."""

    scopes = OPERATE

    def __init__(self, store: InvocationStore, registry: Registry, vault: Vault) -> None:
        self._store = store
        self._registry = registry
        self._vault = vault

    def on_get(self, req: falcon.Request, resp: falcon.Response, reference_id: str) -> None:
        """Answer with the outline, or with the reason why there is none."""
        if not REFERENCE_ID.match(reference_id):
            raise NotFound
        req.context.reference_id = reference_id
        req.context.is_audited = True
        invocation = self._store.look_up(reference_id, req.context.key.plugin)
        answer_with(resp, orjson.dumps(self._outline(invocation)))

    on_head = on_get

    def _outline(self, invocation: Invocation) -> dict[str, Any]:
        if invocation.step_of is not None:
            return _without("chain_step")  # it holds endpoints' answers, which the API has no keys for
        if invocation.request_bytes > MAX_OUTLINED_BYTES:
            return _without("too_large")
        sealed = self._store.payload_of(invocation.reference_id)
        if not sealed:
            return _without("not_kept")
        try:
            stamp = self._registry.revision(invocation.plugin, invocation.webhook_id, invocation.revision).stamp
            owner = payload_owner(invocation.plugin, invocation.reference_id, invocation.purpose, stamp)
            outline = outline_of(json.loads(self._vault.open(sealed, owner)))
        except (NotFound, VaultError):  # without its revision it does not open either
            return _without("unreadable")
        return {"parts": outline_parts(outline), "complete": outline.complete, "missing": None}


def _without(reason: str) -> dict[str, Any]:
    return {"parts": [], "complete": False, "missing": reason}
