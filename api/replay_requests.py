"""Reads the body of `POST /v1/replays` strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from api.queries import MAX_WORDS, STATUS_RULE, Reading, filter_of, moment, subject
from relay.domain.invocation import FINAL, Outcome, State
from relay.domain.reference_id import reference_time_ms
from relay.errors import Fault, RequestRejected
from relay.registration.field_kinds import Decimal, Fields, Flag, ListOf, Text, Whole, flattened
from relay.replay.planning import MAX_COUNT, MAX_RATE, MIN_RATE
from relay.store.replays.runs import Request
from relay.text.ids import ID_PATTERN, ID_RULE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.store.subjects.hashes import SubjectHashes

#: The most reference ids in one request, meant for ids picked by hand; the command takes files of any length.
MAX_IDS: Final = 100_000
_FINAL: Final = [str(state) for state in State if state in FINAL]
_OUTCOMES: Final = [str(outcome) for outcome in Outcome]
_ABOUT_STATUS: Final = "Only invocations with one of these statuses: numbers, or classes such as `5xx`."


def _status(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and (value == 0 or 100 <= value <= 999):
        return value
    if isinstance(value, str) and value in {"1xx", "2xx", "3xx", "4xx", "5xx"}:
        return value
    raise ValidationError(STATUS_RULE)


def _reference_id(value: Any) -> str:
    if not isinstance(value, str) or reference_time_ms(value) is None:
        raise ValidationError("must be a reference id")
    return value


def _plan_id(value: Any) -> str:
    if not isinstance(value, str) or reference_time_ms(value) is None:
        raise ValidationError("must be a plan id")
    return value


def _word(words: list[str], about: str) -> Text:
    rule = f"must be one of {', '.join(words)}"
    return Text(validate=validate.OneOf(words, error=rule), metadata={"description": about})


ReplayFilter: Final = Fields.from_dict(
    {
        "webhookId": Text(
            validate=validate.Regexp(ID_PATTERN, error=ID_RULE),
            metadata={"description": "Only this webhook's invocations."},
        ),
        "states": ListOf(
            _word(_FINAL, "A final state."),
            "final states",
            most=MAX_WORDS,
            least=1,  # whoever has chosen none does not want all that failed
            metadata={"description": "Only invocations in one of these states; by default those that failed."},
        ),
        "status": ListOf(
            Reading(_status, type=["integer", "string"]),
            "statuses",
            most=MAX_WORDS,
            least=1,
            metadata={"description": _ABOUT_STATUS},
        ),
        "outcome": _word(_OUTCOMES, "Only invocations with this outcome."),
        "subject": subject(),
        "since": moment("Only invocations created at or after this time."),
        "until": moment("Only invocations created at or before this time."),
    },
    name="ReplayFilter",
)

ReplayBody: Final = Fields.from_dict(
    {
        "filter": fields.Nested(
            ReplayFilter,
            metadata={
                "description": (
                    "Which invocations to replay; `{}` for all that failed. Give this, `referenceIds` or `planId`."
                )
            },
        ),
        "referenceIds": ListOf(
            Reading(_reference_id, type="string", format="uuid"),
            "reference ids",
            most=MAX_IDS,
            least=1,
            metadata={"description": "The invocations to replay."},
        ),
        "planId": Reading(
            _plan_id,
            type="string",
            format="uuid",
            description=(
                "The plan to start, which a dry run returned at most a day ago: its invocations, chosen when it was "
                "made. It holds the other members; only `ratePerSecond` may be given with it."
            ),
        ),
        "ratePerSecond": Decimal(
            MAX_RATE,
            "a second",
            least=MIN_RATE,
            metadata={
                "description": "How many invocations to start a second; by default as fast as possible.",
                "type": "number",
                "minimum": MIN_RATE,
                "maximum": MAX_RATE,
            },
        ),
        "max": Whole(
            1,
            MAX_COUNT,
            metadata={"description": "Replay at most this many, the newest first.", "type": "integer", "minimum": 1},
        ),
        "includeUncertain": Flag(
            metadata={
                "description": "Also replay calls of unrepeatable webhooks that may have been executed already.",
                "type": "boolean",
            }
        ),
        "dryRun": Flag(metadata={"description": "Return what would be done, and start nothing.", "type": "boolean"}),
    },
    name="ReplayRequest",
)


def read_replay(value: Any) -> dict[str, Any]:
    """Read the JSON of a body by ``ReplayBody``; raise ``RequestRejected``, which names every fault."""
    try:
        body: dict[str, Any] = ReplayBody(unknown=RAISE).load(_without_nulls(value))
    except ValidationError as error:
        raise rejected(*(Fault(pointer, said) for pointer, said in flattened(error.messages))) from None
    if len(body.keys() & {"filter", "referenceIds", "planId"}) != 1:
        raise rejected(Fault("", "must have exactly one of `filter`, `referenceIds` and `planId`"))
    if "planId" in body and body.keys() - {"planId", "ratePerSecond"}:
        raise rejected(Fault("", "must have no other member than `ratePerSecond` with `planId`"))
    return body


def request_of(body: Mapping[str, Any], plugin: str, subjects: SubjectHashes) -> Request:
    """Return a plugin's replay request for a body that ``read_replay`` has read."""
    return Request(
        filter=filter_of(body["filter"], plugin, subjects) if "filter" in body else None,
        reference_ids=body.get("referenceIds"),
        include_uncertain=body.get("includeUncertain", False),
        max=body.get("max"),
        rate_per_second=body.get("ratePerSecond"),
    )


def _without_nulls(value: Any, schema: type[Schema] = ReplayBody) -> Any:
    """Return a body without its known members that are null, also in its filter: they count as not given."""
    if not isinstance(value, dict):
        return value
    known = schema().fields
    kept = {name: each for name, each in value.items() if each is not None or name not in known}
    if "filter" in kept and "filter" in known:
        kept["filter"] = _without_nulls(kept["filter"], ReplayFilter)
    return kept


def rejected(*faults: Fault) -> RequestRejected:
    """Return the error of a request with these faults."""
    return RequestRejected("The request is not a valid replay request.", faults=faults)
