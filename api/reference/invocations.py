"""Describes the operations that show invocations."""

from __future__ import annotations

from typing import Final

from api.auth import ANY_SCOPE, OPERATE
from api.queries import ListingQuery
from api.reference import schemas
from api.reference.operation import APPLIED, PREFER, DocumentedAnswer, Operation, Sample
from relay import errors

OPERATIONS: Final = (
    Operation(
        id="getInvocation",
        path="/v1/invocations/{referenceId}",
        summary="Get an invocation",
        about=(
            "The whole record with its result. With `Prefer: wait=N`, waits up to N seconds for the invocation to end."
        ),
        scopes=ANY_SCOPE,
        headers={"Prefer": PREFER},
        answers={200: DocumentedAnswer("The record.", schemas.Record, headers=APPLIED)},
        problems=(errors.NotFound, errors.Expired),
        sample=Sample(headers={"Prefer": "wait=10"}),
    ),
    Operation(
        id="getOutline",
        path="/v1/invocations/{referenceId}/request",
        summary="Get the outline of a request",
        about=(
            "Names, types and sizes of what the caller gave, for an operator who has to compare calls; never a value."
        ),
        scopes=OPERATE,
        answers={200: DocumentedAnswer("The outline.", schemas.Outline)},
        problems=(errors.NotFound, errors.Expired),
    ),
    Operation(
        id="listInvocations",
        path="/v1/invocations",
        summary="List invocations",
        about=(
            "The plugin's invocations, newest first. A cursor stays valid while records are added and removed. One "
            "page searches a limited number of records, so it may hold fewer rows than the limit, even none: go on as "
            "long as it has a cursor."
        ),
        scopes=OPERATE,
        query=ListingQuery,
        answers={200: DocumentedAnswer("One page.", schemas.Page)},
        sample=Sample(query={"webhookId": "order", "status": "5xx", "limit": "10"}),
    ),
)
