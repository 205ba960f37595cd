"""The operations that tell what may be triggered."""

from __future__ import annotations

from typing import Final

from api.auth import TRIGGER
from api.reference import schemas
from api.reference.operation import Operation, Said
from api.reference.samples import Sample
from relay import errors

_WEBHOOKS: Final = Operation(
    id="listWebhooks",
    method="GET",
    path="/v1/webhooks",
    tag="Webhooks",
    summary="List webhooks",
    about="The plugin's webhooks and what a caller may send to each. Hidden ones are not shown; targets never are.",
    scopes=TRIGGER,
    answers={200: Said("The webhooks.", schemas.Webhooks)},
    sample=Sample("GET", "/v1/webhooks"),
)

_WEBHOOK: Final = Operation(
    id="getWebhook",
    method="GET",
    path="/v1/webhooks/{webhookId}",
    tag="Webhooks",
    summary="Look at a webhook",
    about="One of them. An unknown, a hidden and another plugin's webhook answer identically.",
    scopes=TRIGGER,
    parameters={"webhookId": "The webhook's id."},
    answers={200: Said("The webhook.", schemas.Webhook)},
    problems=(errors.WebhookNotRegistered,),
    sample=Sample("GET", "/v1/webhooks/order"),
)

OPERATIONS: Final = (_WEBHOOKS, _WEBHOOK)
