"""Describes the operations that show which webhooks may be triggered."""

from __future__ import annotations

from typing import Final

from marshmallow import fields

from api.auth import TRIGGER
from api.reference.members import anything, schema, several, text
from api.reference.operation import DocumentedAnswer, Operation
from api.reference.process import TYPES
from api.reference.samples import Sample
from relay import errors

_PathParam: Final = schema("PathParam", pattern=text("A regular expression that the whole value has to match."))

Webhook: Final = schema(
    "Webhook",
    id=text("The webhook's id."),
    description=text("What it is for.", maybe=True),
    dataSchema=anything("JSON Schema 2020-12 of `data`; null if any value is accepted."),
    headers=several(fields.String(), "Names of headers that a caller may fill."),
    queryParams=several(fields.String(), "Names of query parameters that a caller may give."),
    payload=text(
        "`multipart`: `data` is an object of texts, numbers and files, sent as multipart/form-data. A file is"
        " `{filename, contentType, content}`, with `content` in base64.",
        required=False,
    ),
    pathParams=fields.Dict(
        values=fields.Nested(_PathParam),
        metadata={"description": "The segments of its path that a caller has to fill, by name, if there are any."},
    ),
    payloadEncoding=text("`base64`: `data` is base64 text, and its bytes are sent.", maybe=True),
)

Webhooks: Final = schema("Webhooks", webhooks=several(Webhook, "In order of id."))

_WEBHOOKS: Final = Operation(
    id="listWebhooks",
    method="GET",
    path="/v1/webhooks",
    tag="Webhooks",
    summary="List webhooks",
    about="The plugin's webhooks and what a caller may send to each, without hidden webhooks and without any targets.",
    scopes=TRIGGER,
    answers={200: DocumentedAnswer("The webhooks.", Webhooks)},
    sample=Sample("GET", "/v1/webhooks"),
)

_WEBHOOK: Final = Operation(
    id="getWebhook",
    method="GET",
    path="/v1/webhooks/{webhookId}",
    tag="Webhooks",
    summary="Look at a webhook",
    about="What a caller may send to one webhook. Unknown, hidden and other plugins' webhooks get the same answer.",
    scopes=TRIGGER,
    parameters={"webhookId": "The webhook's id."},
    answers={200: DocumentedAnswer("The webhook.", Webhook)},
    problems=(errors.WebhookNotRegistered,),
    sample=Sample("GET", "/v1/webhooks/order"),
)

_TYPES: Final = Operation(
    id="getWebhookTypes",
    method="GET",
    path="/v1/webhooks.d.ts",
    tag="Webhooks",
    summary="Types of the webhooks",
    about=(
        "The types of `/webhooks.js`, with the plugin's webhooks. Beside the module, as `webhooks.d.ts`, "
        "they let an editor complete ids, headers, queryParams and data, and a call that does not fit fails to compile."
    ),
    scopes=TRIGGER,
    answers={200: DocumentedAnswer("The types.", media_type=TYPES)},
    sample=Sample("GET", "/v1/webhooks.d.ts", textual=True),
)

OPERATIONS: Final = (_WEBHOOKS, _WEBHOOK, _TYPES)
