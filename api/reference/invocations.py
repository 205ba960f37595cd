"""Describes the operations that show invocations."""

from __future__ import annotations

from typing import Final

from api.auth import ANY_SCOPE, OPERATE
from api.queries import ListingQuery
from api.reference import schemas
from api.reference.operation import APPLIED, PREFER, DocumentedAnswer, Operation
from api.reference.samples import Sample
from relay import errors

_ONE: Final = Operation(
    id="getInvocation",
    method="GET",
    path="/v1/invocations/{referenceId}",
    tag="Invocations",
    summary="Look at an invocation",
    about="The whole record with its result. With `Prefer: wait=N` a long poll for its end.",
    scopes=ANY_SCOPE,
    parameters={"referenceId": "The invocation's reference id."},
    headers={"Prefer": PREFER},
    answers={200: DocumentedAnswer("The record.", schemas.Record, headers=APPLIED)},
    problems=(errors.NotFound, errors.Expired),
    sample=Sample("GET", "/v1/invocations/{REF}", headers={"Prefer": "wait=10"}),
)

_LIST: Final = Operation(
    id="listInvocations",
    method="GET",
    path="/v1/invocations",
    tag="Invocations",
    summary="List invocations",
    about=(
        "A plugin's invocations, newest first. Cursors stay good while records come and go. A page may hold fewer rows "
        "than were asked for, even none, and have a cursor still: so much is looked at for one page, and no more."
    ),
    scopes=OPERATE,
    query=ListingQuery,
    answers={200: DocumentedAnswer("One page.", schemas.Page)},
    problems=(errors.BadParameter,),
    sample=Sample("GET", "/v1/invocations", query={"webhookId": "order", "status": "5xx", "limit": "10"}),
)

OPERATIONS: Final = (_ONE, _LIST)
