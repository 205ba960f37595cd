"""Describes the operations that take triggers."""

from __future__ import annotations

from typing import Final

from api.auth import TRIGGER
from api.bodies import NDJSON
from api.reference import schemas
from api.reference.operation import APPLIED, BODY_PROBLEMS, PREFER, DocumentedAnswer, Operation, Sample
from relay import errors
from relay.text.media_types import JSON_TYPE

_ACCEPTED_HEADERS: Final = {
    "Location": "The invocation's address.",
    "Retry-After": "How many seconds to wait before looking at it.",
    **APPLIED,
}

_PYTHON_TRIGGER: Final = """\
import os

from relay.client import Relay

with Relay(os.environ["RELAY_API_URL"], os.environ["KEY"]) as relay:
    print(relay.webhooks.trigger("order", {"hello": "world"}, {"X-Locale": "en"}, {"lang": "en"}))"""
_JAVASCRIPT_TRIGGER: Final = """\
import { createApi } from "./webhooks.mjs";  // the module at /webhooks.js

const api = createApi({ baseUrl: process.env.RELAY_API_URL, key: process.env.KEY });
console.log(await api.webhooks.trigger("order", { hello: "world" }, { "X-Locale": "en" }, { lang: "en" }));"""

OPERATIONS: Final = (
    Operation(
        id="triggerWebhook",
        method="POST",
        path="/v1/webhooks/{webhookId}/trigger",
        summary="Trigger a webhook",
        about=(
            "Checks the trigger against the webhook's registration, stores it, and waits for the endpoint's answer, by "
            "default up to `RELAY_DEFAULT_WAIT` seconds. The trigger succeeds even if the endpoint answers with a "
            "failure or cannot be contacted: look at `error`."
        ),
        scopes=TRIGGER,
        headers={
            "Prefer": PREFER,
            "Idempotency-Key": (
                "1 to 255 visible characters. The same key and trigger give the same invocation for 24 h."
            ),
            "traceparent": "W3C Trace Context, passed on to the endpoint.",
        },
        body=schemas.Trigger,
        answers={
            200: DocumentedAnswer("The invocation has ended.", schemas.Answer, headers=APPLIED),
            202: DocumentedAnswer("Accepted, but not finished yet.", schemas.Accepted, headers=_ACCEPTED_HEADERS),
        },
        problems=(
            *BODY_PROBLEMS,
            errors.RequestRejected,
            errors.WebhookNotRegistered,
            errors.Cancelled,
            errors.Expired,
            errors.IdempotencyKeyReused,
        ),
        sample=Sample(
            body={"data": {"hello": "world"}, "headers": {"X-Locale": "en"}, "queryParams": {"lang": "en"}},
            handwritten={"Python": _PYTHON_TRIGGER, "JavaScript": _JAVASCRIPT_TRIGGER},
        ),
    ),
    Operation(
        id="triggerMany",
        method="POST",
        path="/v1/triggers",
        summary="Trigger many",
        about=(
            "At most 1,000 items, as a JSON array or one per line. Always asynchronous. A bad item (or line) gets its "
            "own problem; the others are accepted."
        ),
        scopes=TRIGGER,
        headers={"Prefer": PREFER, "traceparent": "W3C Trace Context, passed on to the endpoints."},
        body=schemas.BulkItem,
        bodies=(JSON_TYPE, NDJSON),
        many=True,
        answers={
            202: DocumentedAnswer(
                "The result of each item, in the order of the items.", schemas.BulkAnswer, headers=APPLIED
            )
        },
        problems=(*BODY_PROBLEMS, errors.RateLimited),
        sample=Sample(
            body=[{"webhookId": "order", "data": {"n": 1}}, {"webhookId": "order", "data": {"n": 2}}],
        ),
    ),
)
