"""The resources that show invocations: the record of one, a list of them, and the outline of a trigger."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from api.auth import ANY_SCOPE, OPERATE
from api.json_answers import answer_with
from api.preferences import Preferences
from api.queries import ListingQuery, filter_of, read_query
from relay.errors import Expired, NotFound, VaultError
from relay.request.outline import MAX_OUTLINED_BYTES, outline_of
from relay.store.ledger.acceptance import Accepted, AcceptVerdict
from relay.vault import payload_owner
from relay.views import record_of, row_of, summary_of

if TYPE_CHECKING:
    import falcon

    from api.awaiting import Waiters
    from api.results import Results
    from relay.domain.invocation import Invocation
    from relay.store.api_keys.records import ApiKey
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.listing import Listing
    from relay.store.registry.webhooks import Registry
    from relay.store.subjects.hashes import SubjectHashes
    from relay.vault import Vault

REFERENCE_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z", re.ASCII)


class InvocationResource:
    """`GET /v1/invocations/{referenceId}`, with `Prefer: wait=N` a long poll for its end."""

    scopes = ANY_SCOPE

    def __init__(self, store: InvocationStore, registry: Registry, waiters: Waiters, results: Results) -> None:
        self._store = store
        self._registry = registry
        self._waiters = waiters
        self._results = results

    def on_get(self, req: falcon.Request, resp: falcon.Response, reference_id: str) -> None:
        """Answer with the record: at once, or, with a wait, when it is final or the wait is over.

        A key without ``operate`` gets the answer for an unknown id if the webhook was hidden when it was called.
        """
        if not REFERENCE_ID.match(reference_id):
            raise NotFound
        req.context.reference_id = reference_id
        key = req.context.key
        preferences = Preferences.read(req.get_header("Prefer"))
        req.context.is_audited = True
        wait_s = preferences.wait_s or 0
        waited = wait_s <= 0 or self._await(key, reference_id, wait_s)
        invocation = self._store.look_up(reference_id, key.plugin)  # only this last read gets an audit entry
        if not self._is_shown_to(key, invocation):
            raise NotFound
        applied = preferences.applied(waited=waited or invocation.final, responded_async=False)
        if applied:
            resp.set_header("Preference-Applied", applied)
        summary, result = summary_of(invocation), None
        if summary is not None:
            try:
                data = self._results.data(key.plugin, invocation)
            except VaultError:
                data, invocation = b"null", replace(invocation, damaged=(*invocation.damaged, "result"))
            result = {"status": summary["status"], "data": orjson.Fragment(data), "error": summary["error"]}
        record = record_of(invocation, operate="operate" in key.scopes, result=result)
        answer_with(resp, orjson.dumps(record))

    def _is_shown_to(self, key: ApiKey, invocation: Invocation) -> bool:
        """Return whether a key may see an invocation: of hidden webhooks, only operators may."""
        if "operate" in key.scopes:
            return True
        try:
            return not self._registry.revision(key.plugin, invocation.webhook_id, invocation.revision).shape.hidden
        except NotFound:  # no webhook was called, or its revision is lost
            return invocation.step_of is None

    def _await(self, key: ApiKey, reference_id: str, wait_s: float) -> bool:
        """Wait for the invocation's end; return False if there was no room to wait."""
        try:
            invocation = self._store.get(key.plugin, reference_id)
        except (NotFound, Expired):
            return True  # the look-up raises it again
        if invocation.final or not self._is_shown_to(key, invocation):
            return True
        expectation = self._waiters.expect(reference_id, (key.plugin, invocation.webhook_id))
        if expectation is None:
            return False
        try:
            known = Accepted(AcceptVerdict.KNOWN, reference_id, invocation.state)
            if not expectation.follow(known).final:
                expectation.wait(time.monotonic() + wait_s)
        finally:
            expectation.close()
        return True


class ListingResource:
    """`GET /v1/invocations`, newest first, a page at a time."""

    scopes = OPERATE
    query = ListingQuery

    def __init__(self, listing: Listing, subjects: SubjectHashes) -> None:
        self._listing = listing
        self._subjects = subjects

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with one page, and with the cursor of the next."""
        query = read_query(req, self.query)
        plugin = req.context.key.plugin
        wanted = filter_of(query, plugin, self._subjects)
        page = self._listing.page(plugin, wanted, limit=query["limit"], cursor=query.get("cursor"))
        rows = [row_of(invocation) for invocation in page.rows]
        answer_with(resp, orjson.dumps({"invocations": rows, "cursor": page.cursor}))


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
            payload = json.loads(self._vault.open(sealed, owner))
        except (NotFound, VaultError):  # without its revision it does not open either
            return _without("unreadable")
        # What the caller left out is kept as null or {}; data that are {} were given.
        given = {name: value for name, value in payload.items() if value or (name == "data" and value is not None)}
        parts, complete = outline_of(given)
        return {"parts": parts, "complete": complete, "missing": None}


def _without(reason: str) -> dict[str, Any]:
    return {"parts": [], "complete": False, "missing": reason}
