"""Reads query parameters strictly: every fault names its parameter, and no route ignores one that it does not know."""

from __future__ import annotations

import re
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from marshmallow import RAISE, Schema, ValidationError, fields, missing, validate

from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import UUID_PATTERN
from relay.errors import BadParameter, Fault
from relay.request.directions import MAX_SUBJECT_CHARS, SUBJECT_RULE, is_subject
from relay.store.ledger.listing import CALLER, MAX_PAGE, Filter
from relay.text.ids import ID_PATTERN, ID_RULE
from relay.text.timestamps import AGE_PATTERN, read_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import falcon

    from relay.store.subjects.hashes import SubjectHashes

DEFAULT_LIMIT: Final = 50
MAX_WORDS: Final = 50  # in one parameter that takes several
_CURSOR: Final = re.compile(r"[\x21-\x7e]{1,512}\Z", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,6}\Z", re.ASCII)
_STATUS: Final = re.compile(r"(?:0|[1-9][0-9]{2}|[1-5]xx)\Z", re.ASCII)
_MAX_NAME_CHARS: Final = 64  # of a name that the caller made up
_TRIGGERS: Final = ("/trigger", "/triggers")
_FOR_WEBHOOK: Final = "is not a parameter here: put it into queryParams of the body if it is meant for the webhook"
STATUS_RULE: Final = "must be a status, 0 or 100 to 999, or a class such as 5xx"


class Reading(fields.Field[Any]):
    """A field read by a function that raises ``ValidationError`` for a faulty value; ``said`` describes it."""

    def __init__(self, read: Callable[[Any], Any], *, load_default: Any = missing, **said: Any) -> None:
        super().__init__(load_default=load_default, metadata=said)
        self._read = read

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return self._read(value)


def _time_ms(value: Any) -> int:
    """Read an RFC 3339 time, or an age, into milliseconds since the epoch."""
    try:
        return read_time(value if isinstance(value, str) else "", int(time.time() * 1000))
    except ValueError as error:
        raise ValidationError(str(error)) from None


def moment(about: str) -> Reading:
    """Make a field for a time, with ``about`` as its description."""
    forms = [{"format": "date-time"}, {"pattern": AGE_PATTERN}]
    about = f"{about} RFC 3339, or an age: `90s`, `15m`, `2h`, `7d`."
    return Reading(_time_ms, description=about, type="string", anyOf=forms)


def _subject(value: Any) -> str:
    if not is_subject(value):
        raise ValidationError(SUBJECT_RULE)
    return str(value)


def subject() -> Reading:
    """Make a field for a filter by subject."""
    about = "Only invocations that concern this subject, such as a patient's id."
    return Reading(_subject, description=about, type="string", minLength=1, maxLength=MAX_SUBJECT_CHARS)


def _words(pattern: re.Pattern[str], rule: str, about: str) -> Reading:
    """Make a field for several words, separated by commas or in repeated parameters."""

    def read(value: Any) -> list[str]:
        words = [word for text in (value if isinstance(value, list) else [value]) for word in text.split(",")]
        if len(words) > MAX_WORDS or not all(pattern.match(word) for word in words):
            raise ValidationError(rule)
        return words

    return Reading(read, description=about, type="string")


def _rows(value: Any) -> int:
    """Read the number of rows that a page may have."""
    number = int(value) if isinstance(value, str) and _NUMBER.match(value) else 0
    if not 1 <= number <= MAX_PAGE:
        raise ValidationError(f"must be a whole number from 1 to {MAX_PAGE}")
    return number


def _yes(value: Any) -> bool:
    if value not in ("true", "false"):
        raise ValidationError("must be true or false")
    return bool(value == "true")


def _text(pattern: re.Pattern[str], rule: str, about: str) -> fields.String:
    return fields.String(validate=validate.Regexp(pattern, error=rule), metadata={"description": about})


_STATES: Final = re.compile(rf"(?:{'|'.join(State)})\Z", re.ASCII)
_STATE_RULE: Final = f"must be one or more of {', '.join(State)}"
_OUTCOME_RULE: Final = f"must be one of {', '.join(Outcome)}"
_LIMIT: Final = Reading(
    _rows,
    load_default=DEFAULT_LIMIT,
    description=f"The most rows to return, 1 to {MAX_PAGE}.",
    type="integer",
    minimum=1,
    maximum=MAX_PAGE,
)

#: The query of `GET /v1/invocations`.
ListingQuery: Final = Schema.from_dict(
    {
        "webhookId": _text(ID_PATTERN, ID_RULE, "Only this webhook's invocations."),
        "state": _words(_STATES, _STATE_RULE, "Only invocations in one of these states, separated by commas."),
        "status": _words(
            _STATUS, STATUS_RULE, "Only invocations with one of these statuses (`503`, `5xx`), separated by commas."
        ),
        "outcome": fields.String(
            validate=validate.OneOf([str(each) for each in Outcome], error=_OUTCOME_RULE),
            metadata={"description": "Only invocations with this outcome."},
        ),
        "failed": Reading(
            _yes,
            description="`true`: only invocations that ended in error, unless a replay has succeeded.",
            type="boolean",
        ),
        "unreplayed": Reading(
            _yes,
            description="`true`: leave out invocations that a replay has sent again with success, as `failed` does; "
            "`false`: with `failed`, add these.",
            type="boolean",
        ),
        "caller": _text(
            CALLER, "must be the id of an API key, or cli", "Only invocations that this API key triggered."
        ),
        "chain": _text(UUID_PATTERN, "must be a reference id", "Only steps of this chain."),
        "replay": _text(
            UUID_PATTERN, "must be the id of a replay job", "Only invocations that this replay job created."
        ),
        "subject": subject(),
        "since": moment("Only invocations created at or after this time."),
        "until": moment("Only invocations created at or before this time."),
        "limit": _LIMIT,
        "cursor": _text(
            _CURSOR,
            "must be a cursor that an earlier page returned",
            "The cursor that the previous page returned; without it, the first page.",
        ),
    },
    name="ListingQuery",
)

#: The query of `GET /v1/replays`.
ReplaysQuery: Final = Schema.from_dict({"limit": _LIMIT}, name="ReplaysQuery")


#: The query of `GET /v1/stats` and `GET /v1/groups`.
OverviewQuery: Final = Schema.from_dict(
    {
        "since": moment("Only from this time on."),
        "webhookId": _text(ID_PATTERN, ID_RULE, "Only this webhook's invocations."),
    },
    name="OverviewQuery",
)

#: The query of `GET /v1/lanes`.
LanesQuery: Final = Schema.from_dict(
    {"since": moment("Adds each minute from this time on, at most a day back.")}, name="LanesQuery"
)


def read_query(req: falcon.Request, schema: type[Schema]) -> dict[str, Any]:
    """Read the query parameters by the schema; an empty one counts as not given.

    Raises ``BadParameter``, which names every fault.
    """
    known = schema().fields
    given = {name: value for name, value in req.params.items() if value != "" or name not in known}
    try:
        loaded: dict[str, Any] = schema(unknown=RAISE).load(given)
    except ValidationError as error:
        messages: Mapping[str, Any] = error.messages_dict
        raise BadParameter(faults=tuple(_fault(schema, name, said) for name, said in messages.items())) from None
    return loaded


def check_parameters(req: falcon.Request, resource: object) -> None:
    """Raise ``BadParameter`` if the request has query parameters and its resource reads none, having no ``query``."""
    if hasattr(resource, "query") and req.method in {"GET", "HEAD"}:
        return  # the resource reads them
    said = _FOR_WEBHOOK if req.path.endswith(_TRIGGERS) else "is not a parameter here: this route has none"
    faults = tuple(Fault(_shown(name), said) for name in islice(req.params, MAX_WORDS))
    if faults:
        raise BadParameter(faults=faults)


def _fault(schema: type[Schema], name: str, said: Any) -> Fault:
    known = schema().fields
    if name not in known:
        return Fault(_shown(name), f"is not a parameter here: the known ones are {', '.join(known)}")
    return Fault(name, "; ".join(map(str, said)))


def _shown(name: str) -> str:
    """Return a name that the caller made up as it is written in a URL, shortened."""
    return quote(name, safe="[]$:", errors="replace")[:_MAX_NAME_CHARS]


def filter_of(query: Mapping[str, Any], plugin: str, subjects: SubjectHashes) -> Filter:
    """Return the filter for the query of a listing of a plugin's invocations, or for the filter of a replay."""
    return Filter(
        webhook_id=query.get("webhookId"),
        states=frozenset(State(word) for word in (*query.get("state", ()), *query.get("states", ()))),
        status=tuple(int(each) if _NUMBER.match(str(each)) else each for each in query.get("status", ())),
        outcome=Outcome(query["outcome"]) if "outcome" in query else None,
        error=True if query.get("failed") else None,
        unreplayed=query.get("unreplayed", query.get("failed", False)),
        caller=query.get("caller"),
        chain=query.get("chain"),
        replay=query.get("replay"),
        subject=subjects.known(plugin, query["subject"]) if "subject" in query else None,
        since_ms=query.get("since"),
        until_ms=query.get("until"),
    )
