"""Marshmallow schemas of the API's answers, from which the document at `/openapi.json` is made.

The answers themselves are written by hand, because of large numbers and the order of members; a test checks real
answers against these schemas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marshmallow import Schema, fields, validate

from api.reference.members import anything, flag, maybe, reference, schema, several, text, time, whole, word
from relay.domain.invocation import Sent, State
from relay.request.directions import MAX_DELAY_S, MAX_SUBJECT_CHARS

if TYPE_CHECKING:
    from marshmallow.fields import Field

_STATUS: Final = "The endpoint's HTTP status; 0 if there was no acceptable answer."

Fault: Final = schema(
    "Fault",
    pointer=text("Where the fault is: a JSON pointer (RFC 6901), or the name of a parameter."),
    message=text("What is wrong there."),
)

_PROBLEM: Final[dict[str, Field[Any]]] = {
    "type": text("A URN that ends in the code."),
    "title": text("The kind of problem."),
    "status": whole("The HTTP status."),
    "detail": text("A sentence for people; its wording may change."),
    "code": text("A stable code, for programs."),
    "errors": several(Fault, "The fields at fault.", required=False),
    "referenceId": reference("The invocation's reference id, if a record was kept.", required=False),
}

Problem: Final = schema("Problem", **_PROBLEM)

_SCALAR: Final = fields.Raw(metadata={"type": ["string", "number", "boolean"]})

_TRIGGER: Final[dict[str, Field[Any]]] = {
    "data": anything("The payload: an object, an array, a string or null.", required=False),
    "headers": maybe("Values of headers that the registration lets callers fill.", fields.Dict, values=fields.String()),
    "queryParams": maybe("Values of registered query parameters.", fields.Dict, values=_SCALAR),
    "pathParams": maybe(
        "Values of the segments that the webhook's path leaves to callers: all of them.", fields.Dict, values=_SCALAR
    ),
    "subject": maybe(
        "Whom it concerns, such as a patient's id. Never sent; kept as a keyed hash only.",
        validate=validate.Length(1, MAX_SUBJECT_CHARS),
    ),
    "delay": maybe(
        "How many seconds to wait before sending. The answer is then 202, whatever is preferred.",
        fields.Float,
        validate=validate.Range(0, MAX_DELAY_S),
    ),
}

Trigger: Final = Schema.from_dict(_TRIGGER, name="Trigger")

BulkItem: Final = Schema.from_dict(
    {
        "webhookId": text("The webhook's id."),
        **_TRIGGER,
        "idempotencyKey": text("Like the header `Idempotency-Key`.", maybe=True, required=False),
    },
    name="BulkItem",
)

_DATA: Final = (
    "The endpoint's answer, masked; `{code, message}` if it could not be accepted; `{code, message, sent}` if there "
    "was none: `sent` is `no` if certainly no request of the call was sent, else `maybe`."
)

Answer: Final = schema(
    "Answer",
    referenceId=reference("The invocation's id everywhere."),
    status=whole(_STATUS),
    data=anything(_DATA),
    error=flag(
        "Whether the call failed: `status` is 0 or at least 400, or the answer does not have the registered form."
    ),
)

Accepted: Final = schema(
    "Accepted",
    referenceId=reference("The invocation's id everywhere."),
    state=word("The invocation's state.", State),
)

BulkResult: Final = schema(
    "BulkResult",
    referenceId=reference("The invocation's reference id, if the item was accepted.", required=False),
    state=fields.String(
        validate=validate.OneOf([str(state) for state in State]),
        metadata={"description": "The invocation's state, if the item was accepted."},
    ),
    problem=fields.Nested(Problem, metadata={"description": "The problem, if the item was refused."}),
)

BulkAnswer: Final = schema(
    "BulkAnswer",
    accepted=whole("How many items were accepted."),
    rejected=whole("How many items were refused."),
    results=several(BulkResult, "One for each item, in the order of the items."),
)

Attempt: Final = schema(
    "Attempt",
    number=whole("Counted from 1."),
    startedAt=time("When it began."),
    durationMs=whole("How long it took."),
    status=whole(_STATUS),
    outcome=text(
        "The attempt's outcome. A key without `operate` sees only the coarse code, or null for an answer.", maybe=True
    ),
    sent=word("Whether the request was sent, as far as is known.", Sent),
)

_CHAIN: Final = "For a step `{parent, step, item}`, for a chain `{steps}`, otherwise null. Only with `operate`."

Chain: Final = schema(
    "Chain",
    parent=reference("The chain's reference id; for steps only.", required=False),
    step=fields.Integer(metadata={"description": "The step's number, counted from 0; for steps only."}),
    item=fields.Integer(metadata={"description": "Which call of the step it is, counted from 0; for steps only."}),
    steps=several(
        fields.String(metadata={"format": "uuid"}), "The reference ids of its steps; for chains only.", required=False
    ),
)

DAMAGED: Final = several(
    fields.String(),
    "The fields of the stored record that cannot be read, because somebody has altered them: they are null here, or as"
    " if they were missing. Absent if there are none.",
    required=False,
)

Result: Final = schema(
    "Result",
    status=whole(f"{_STATUS} Null if it is damaged.", maybe=True),
    data=anything(f"{_DATA} Null if it is damaged."),
    error=flag("Whether the call failed; null if that is damaged.", maybe=True),
)

RowResult: Final = schema(
    "RowResult",
    status=whole(f"{_STATUS} Null if it is damaged.", maybe=True),
    error=flag("Whether the call failed; null if that is damaged.", maybe=True),
)


Part: Final = schema(
    "Part",
    pointer=text("A JSON pointer (RFC 6901) into the trigger, in which `*` stands for every item of a list."),
    types=several(fields.String(), "The types of the values there."),
    count=whole("How many values are there."),
    bytes=whole("Their size as JSON."),
)

MISSING: Final = ("chain_step", "too_large", "not_kept", "unreadable")

Outline: Final = schema(
    "Outline",
    parts=several(Part, "Names, types and sizes, never values; at most 200."),
    complete=flag("Whether these are all parts."),
    missing=text("Why there are no parts: " + ", ".join(f"`{why}`" for why in MISSING) + "; or null.", maybe=True),
)

_OUTLINE: Final = "What the caller gave, without any value. Only with `operate`."


_LATE: Final = "Status and outcome of an answer that came too late to count, if any. Only with `operate`."


def _record(name: str, result: type[Schema], **more: Any) -> type[Schema]:
    return schema(
        name,
        referenceId=reference("The invocation's id everywhere."),
        webhookId=text("The webhook that was triggered; empty if it was not a valid id."),
        revision=whole("The revision that it runs with; null if the webhook was not registered.", maybe=True),
        state=word("Its state; `delivered` and the ones after it are final. Null if it is damaged.", State, maybe=True),
        createdAt=time("When it was accepted."),
        finishedAt=time("When it became final.", maybe=True),
        attempts=several(Attempt, "Every outbound request, including those that could not be sent."),
        result=maybe("Null as long as there is no result.", fields.Nested, nested=result, required=True),
        requestBytes=whole("Size of the trigger."),
        responseBytes=whole("Size of the endpoint's answer."),
        caller=text("The id of the API key that triggered it. Only with `operate`.", maybe=True, required=False),
        replayOf=reference("The invocation that this one repeats.", maybe=True),
        replayedBy=reference("The invocation that repeated this one.", maybe=True),
        notBefore=time("The time before which it is not sent; for delayed calls and retries only.", required=False),
        forgottenAt=time("When payload and result were deleted, if they were.", required=False),
        chain=maybe(_CHAIN, fields.Nested, nested=Chain),
        reason=text("Why a chain's step could not be made, if so. Only with `operate`.", required=False),
        lateAnswer=text(_LATE, required=False),
        expiresAt=time("When the record is deleted; null while it is not final.", maybe=True),
        damaged=DAMAGED,
        **more,
    )


Record: Final = _record("Invocation", Result, request=fields.Nested(Outline, metadata={"description": _OUTLINE}))
Row: Final = _record("InvocationRow", RowResult)

Page: Final = schema(
    "InvocationPage",
    invocations=several(Row, "Newest first."),
    cursor=text("Pass it as `cursor` to get the next page; null on the last one.", maybe=True),
)

Group: Final = schema(
    "Group",
    webhookId=text("The webhook."),
    outcome=text("The outcome that they share.", maybe=True),
    status=whole(_STATUS, maybe=True),
    count=whole("How many invocations."),
    firstAt=time("When the first of them was created."),
    lastAt=time("When the last of them was created."),
)

Health: Final = schema("Health", status=text("`ok`."))

_WARNINGS: Final = (
    "Lanes without a worker, parts of the store that do not answer, and faults of the server that put accepted calls at"
    " risk."
)
_UNKNOWN: Final = "null while the shared keys of the store do not answer."


def _lanes(*, required: bool = True) -> fields.Dict:
    about = {"description": f"Live workers by lane: `interactive`, `bulk`, `replay`; {_UNKNOWN}"}
    number = fields.Integer(allow_none=True)
    return fields.Dict(keys=fields.String(), values=number, required=required, metadata=about)


Ready: Final = schema(
    "Ready",
    status=text("`ready`."),
    redis=text("`ok`."),
    workers=whole(f"How many worker processes are alive; {_UNKNOWN}", maybe=True),
    lanes=_lanes(),
    warnings=several(fields.String(), _WARNINGS),
)

Unready: Final = schema(
    "Unready",
    **_PROBLEM,
    workers=fields.Integer(metadata={"description": "How many worker processes are alive."}),
    lanes=_lanes(required=False),
    warnings=several(fields.String(), _WARNINGS, required=False),
)

Document: Final = schema(
    "Document",
    openapi=text("The version of OpenAPI."),
    paths=fields.Dict(metadata={"description": "The operations, by path and method."}),
    components=fields.Dict(metadata={"description": "The schemas, and how a key is given."}),
)
