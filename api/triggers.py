"""The resources that take triggers: a single one, awaited or not, and lists of them."""

from __future__ import annotations

import io
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from api.auth import TRIGGER
from api.awaiting import Expectation
from api.bodies import NDJSON, has_body, media_type
from api.json_answers import answer_with
from api.preferences import Preferences
from api.problems import problem_of
from relay.accept.intake import TriggerRequest, check_idempotency_key
from relay.audit.entry import Act
from relay.domain.reference_id import new_reference_id
from relay.errors import Fault, MalformedJson, RelayError, RequestRejected, TooLarge, Unavailable
from relay.request.directions import has_delay
from relay.store.ledger.acceptance import AcceptVerdict
from relay.text.json_extent import MAX_DEPTH, MAX_VALUES, check_extent
from relay.text.media_types import JSON_TYPE
from relay.text.strict_json import dump_json, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    import falcon

    from api.awaiting import Waiters
    from api.bodies import Bodies
    from api.results import Results
    from relay.accept.dispatcher import Dispatcher
    from relay.domain.invocation import Invocation
    from relay.store.api_keys.records import ApiKey
    from relay.store.ledger.acceptance import Accepted
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.notices import Notice
    from relay.store.ledger.rates import PluginRates

MAX_ITEMS: Final = 1_000  # of one bulk request
_RETRY_AFTER_S: Final = "1"
_ITEM_ONLY: Final = ("webhookId", "idempotencyKey")


class TriggerResource:
    """`POST /v1/webhooks/{webhookId}/trigger`."""

    scopes = TRIGGER
    act = Act.TRIGGER
    is_traced = True

    def __init__(
        self,
        dispatcher: Dispatcher,
        store: InvocationStore,
        waiters: Waiters,
        results: Results,
        rates: PluginRates,
        bodies: Bodies,
        *,
        default_wait_s: float,
    ) -> None:
        self._dispatcher = dispatcher
        self._store = store
        self._waiters = waiters
        self._results = results
        self._rates = rates
        self._bodies = bodies
        self._default_wait_s = default_wait_s

    def on_post(self, req: falcon.Request, resp: falcon.Response, webhook_id: str) -> None:
        """Accept the trigger, and wait for its result if the caller prefers that, for as long as it prefers."""
        plugin = req.context.key.plugin
        self._rates.take(plugin)
        if has_body(req):
            media_type(req, (JSON_TYPE,))
        preferences = Preferences.read(req.env.get("HTTP_PREFER"))
        wait_s = preferences.wait_or(self._default_wait_s)
        end: Notice | Invocation | None = None
        submitted = self._submit(req, webhook_id, awaited=wait_s > 0)
        waited = isinstance(submitted, Expectation)
        if isinstance(submitted, Expectation):
            try:
                end = submitted.wait(time.monotonic() + wait_s)
            finally:
                submitted.close()
            accepted = submitted.accepted
        else:
            accepted, end = submitted
        req.context.reference_id = accepted.reference_id
        finished = end is not None and end.state is not None and end.state.final
        headers = {"Cache-Control": "no-store", "Content-Type": JSON_TYPE}
        applied = preferences.applied(waited=waited or finished, responded_async=not finished)
        if applied:
            headers["Preference-Applied"] = applied
        if end is None or not finished:
            resp.status = 202
            headers |= {"Location": f"/v1/invocations/{accepted.reference_id}", "Retry-After": _RETRY_AFTER_S}
        resp.set_headers(headers)
        if end is not None and finished:
            resp.data = self._results.answer(plugin, end)
        else:
            state = accepted.state if end is None else end.state
            resp.data = orjson.dumps({"referenceId": accepted.reference_id, "state": state})

    def _submit(
        self, req: falcon.Request, webhook_id: str, *, awaited: bool
    ) -> Expectation | tuple[Accepted, Invocation | None]:
        """Submit the trigger; return an expectation of its end, or what is known without waiting.

        The body is released before this returns, because a caller may wait long.
        """
        context = req.context
        plugin, idempotency_key = context.key.plugin, req.env.get("HTTP_IDEMPOTENCY_KEY")
        reference_id = new_reference_id(plugin)
        with self._bodies.read(req) as body:
            value = body.json() if body.content else {}
            awaited = awaited and not has_delay(value)
            if idempotency_key is not None:
                check_idempotency_key(idempotency_key)
            expectation = self._waiters.expect(reference_id, (plugin, webhook_id)) if awaited else None
            call = TriggerRequest(
                plugin=plugin,
                webhook_id=webhook_id,
                value=value,
                reference_id=reference_id,
                caller=context.key.id,
                awaited=awaited,
                waiter=None if expectation is None else self._waiters.process,
                idempotency_key=idempotency_key,
                traceparent=context.traceparent,
            )
            context.is_audited = True  # the script that accepts or refuses the trigger writes an entry
            if expectation is not None:
                try:
                    self._dispatcher.submit(call, expectation.reply)
                except BaseException:
                    expectation.close()
                    raise
                return expectation
            accepted = self._dispatcher.trigger(call)
        known = awaited and accepted.verdict is AcceptVerdict.KNOWN  # the end of an earlier invocation may be known
        return accepted, self._store.get_confirmed(plugin, accepted.reference_id) if known else None


class TriggersResource:
    """`POST /v1/triggers`: a list of triggers, always asynchronous."""

    scopes = TRIGGER
    act = Act.TRIGGER
    is_traced = True

    def __init__(self, dispatcher: Dispatcher, rates: PluginRates, bodies: Bodies) -> None:
        self._dispatcher = dispatcher
        self._rates = rates
        self._bodies = bodies

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Accept each item on its own; answer with the results in the items' order."""
        kind = media_type(req, (JSON_TYPE, NDJSON))
        with self._bodies.read(req) as body:
            with body.parsing:
                items = _array(body.content) if kind == JSON_TYPE else _lines(body.content)
            self._rates.take(req.context.key.plugin, len(items))
            self._trigger(req, resp, items)

    def _trigger(self, req: falcon.Request, resp: falcon.Response, items: Sequence[Any]) -> None:
        calls = [_call(item, req.context.key, req.context.traceparent) for item in items]
        good = [call for call in calls if isinstance(call, TriggerRequest)]
        req.context.refused_items = Counter(call.code for call in calls if isinstance(call, RelayError))
        req.context.is_audited = bool(calls)  # the script that accepts or refuses the good ones writes an entry
        outcomes = iter(self._dispatcher.trigger_many(good))
        results = [next(outcomes) if isinstance(call, TriggerRequest) else call for call in calls]
        _raise_if_away(results)
        entries = [_entry(result) for result in results]
        accepted = sum("referenceId" in entry for entry in entries)
        req.context.item_count = len(entries)
        applied = Preferences.read(req.env.get("HTTP_PREFER")).applied(waited=False, responded_async=True)
        if applied:
            resp.set_header("Preference-Applied", applied)
        resp.status = 202
        answer = {"accepted": accepted, "rejected": len(entries) - accepted, "results": entries}
        answer_with(resp, dump_json(answer))


def _array(body: bytes) -> list[Any]:
    items = read_json(body, depth=MAX_DEPTH + 1)  # the array is one level more than its items
    if not isinstance(items, list):
        raise MalformedJson("The body has to be a JSON array.")
    if len(items) > MAX_ITEMS:
        raise TooLarge(f"At most {MAX_ITEMS} items are accepted in one request.")
    return items


def _lines(body: bytes) -> list[Any]:
    """Return the values of NDJSON, with an error for each line that is not JSON; skip empty lines."""
    items: list[Any] = []
    left = MAX_VALUES  # in all lines together, because all are kept
    for line in io.BytesIO(body):
        text = line.strip(b"\n")
        if not text.strip():
            continue
        if len(items) == MAX_ITEMS:
            raise TooLarge(f"At most {MAX_ITEMS} items are accepted in one request.")
        try:
            left -= check_extent(text, MAX_DEPTH, left)
            items.append(read_json(text))
        except MalformedJson as error:
            items.append(error)
    return items


def _call(item: Any, key: ApiKey, traceparent: str | None) -> TriggerRequest | RelayError:
    """Return the call that an item describes, or the error of a bad item."""
    if isinstance(item, RelayError):
        return item
    if not isinstance(item, dict):
        return RequestRejected(faults=(Fault("", "must be an object"),))
    webhook_id = item.get("webhookId")
    if not isinstance(webhook_id, str):
        return RequestRejected(faults=(Fault("/webhookId", "must be the id of a webhook"),))
    idempotency_key = item.get("idempotencyKey")
    try:
        if idempotency_key is not None:
            check_idempotency_key(idempotency_key)
    except RelayError as error:
        error.faults = (Fault("/idempotencyKey", "must be 1 to 255 visible ASCII characters"),)
        return error
    return TriggerRequest(
        plugin=key.plugin,
        webhook_id=webhook_id,
        value={name: value for name, value in item.items() if name not in _ITEM_ONLY},
        reference_id=new_reference_id(key.plugin),
        caller=key.id,
        idempotency_key=idempotency_key,
        traceparent=traceparent,
    )


def _raise_if_away(results: Sequence[Accepted | RelayError]) -> None:
    """Raise one error if the store took no item: the whole request may then be sent again.

    If some may have been accepted without a reply, it says so.
    """
    away = [result.message for result in results if isinstance(result, Unavailable)]
    if away and len(away) == len(results):
        raise Unavailable(next((message for message in away if message != Unavailable.sentence), away[0]))


def _entry(result: Accepted | RelayError) -> dict[str, Any]:
    if isinstance(result, RelayError):
        return {"problem": problem_of(result).document}
    return {"referenceId": result.reference_id, "state": result.state}
