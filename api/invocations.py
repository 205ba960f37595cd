"""The resource that shows one invocation's record."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import orjson

from api.auth import ANY_SCOPE
from api.json_answers import answer_with
from api.preferences import Preferences
from relay.errors import Expired, NotFound, VaultError
from relay.store.ledger.acceptance import Accepted, AcceptVerdict
from relay.views import record_of, summary_of

if TYPE_CHECKING:
    import falcon

    from api.awaiting import Waiters
    from api.results import Results
    from relay.domain.invocation import Invocation
    from relay.store.ledger.invocations import InvocationStore

REFERENCE_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z", re.ASCII)


class InvocationResource:
    """`GET /v1/invocations/{referenceId}`, with `Prefer: wait=N` a long poll for its end."""

    scopes = ANY_SCOPE

    def __init__(self, store: InvocationStore, waiters: Waiters, results: Results) -> None:
        self._store = store
        self._waiters = waiters
        self._results = results

    def on_get(self, req: falcon.Request, resp: falcon.Response, reference_id: str) -> None:
        """Answer with the record: at once, or, with a wait, when it is final or the wait is over."""
        if not REFERENCE_ID.match(reference_id):
            raise NotFound
        req.context.reference_id = reference_id
        key = req.context.key
        preferences = Preferences.read(req.get_header("Prefer"))
        req.context.is_audited = True
        invocation, waited = self._read(key.plugin, reference_id, preferences.wait_s or 0)
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

    on_head = on_get

    def _read(self, plugin: str, reference_id: str, wait_s: float) -> tuple[Invocation, bool]:
        """Wait if asked to, and read the record; return it, and whether there was room to wait.

        The audit trail gets an entry only for this last read, whose record is shown.
        """
        waited = wait_s <= 0 or self._await(plugin, reference_id, wait_s)
        return self._store.look_up(reference_id, plugin), waited

    def _await(self, plugin: str, reference_id: str, wait_s: float) -> bool:
        """Wait for the invocation's end; return False if there was no room to wait."""
        try:
            invocation = self._store.get(plugin, reference_id)
        except (NotFound, Expired):
            return True  # the look-up raises it again
        if invocation.final:
            return True
        expectation = self._waiters.expect(reference_id, (plugin, invocation.webhook_id))
        if expectation is None:
            return False
        with expectation:
            look = partial(self._store.get, plugin)
            join = partial(self._store.join, plugin, process=self._waiters.process)
            known = Accepted(AcceptVerdict.KNOWN, reference_id, invocation.state)
            if not expectation.follow(known, join).final:
                expectation.wait(time.monotonic() + wait_s, look, join)
        return True
