"""Describes the operations that show which webhooks may be triggered."""

from __future__ import annotations

from typing import Final

from marshmallow import fields

from api.auth import TRIGGER
from api.reference.members import anything, schema, several, text
from api.reference.operation import DocumentedAnswer, Operation
from api.reference.process import TYPES
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

OPERATIONS: Final = (
    Operation(
        id="listWebhooks",
        path="/v1/webhooks",
        summary="List webhooks",
        about=(
            "The plugin's webhooks and what a caller may send to each, without hidden webhooks and without any targets."
        ),
        scopes=TRIGGER,
        answers={200: DocumentedAnswer("The webhooks.", Webhooks)},
    ),
    Operation(
        id="getWebhook",
        path="/v1/webhooks/{webhookId}",
        summary="Get a webhook",
        about="What a caller may send to one webhook. Unknown, hidden and other plugins' webhooks get the same answer.",
        scopes=TRIGGER,
        answers={200: DocumentedAnswer("The webhook.", Webhook)},
        problems=(errors.WebhookNotRegistered,),
    ),
    Operation(
        id="getWebhookTypes",
        path="/v1/webhooks.d.ts",
        summary="Types of the webhooks",
        about=(
            "The types of `/webhooks.js`, with the plugin's webhooks. Beside the module, as `webhooks.d.ts`, they let "
            "an editor complete ids, headers, queryParams and data, and a call that does not fit fails to compile."
        ),
        scopes=TRIGGER,
        answers={200: DocumentedAnswer("The types.", media_type=TYPES)},
    ),
)
