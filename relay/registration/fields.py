"""The fields of a registration document, one marshmallow schema (design, section 5).

Types are strict here where marshmallow's own are not: its Boolean takes "no", its Integer takes "5".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from relay.object_text import escape_step
from relay.quantities import Rate, read_rate
from relay.registration.data_schema import compile_schema
from relay.registration.header_rules import registration_faults
from relay.retrying import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Ids of webhooks, and names of plugins. ASCII, no normalisation; ``\\Z``, because ``$`` lets a final newline through.
ID_PATTERN: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?\Z")
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
MAX_QUERY_PARAMS: Final = 32
MAX_TIMEOUT_S: Final = 120
DEFAULT_TIMEOUT_S: Final = 20
MAX_DESCRIPTION_LENGTH: Final = 2_000
MAX_ATTEMPTS: Final = 100
MAX_FACTOR: Final = 100
MAX_PAUSE_S: Final = 24 * 3600  # the longest pause between attempts
MAX_CONCURRENCY: Final = 100_000

_OBJECT_WORDS: Final = {"unknown": "is not a known field", "type": "must be an object"}
_FIELD_WORDS: Final = {"required": "is required", "null": "must not be null: leave it out"}
_WHOLE: Final = "_schema"  # marshmallow's name for what is wrong with an object as a whole
_QUERY_NAME: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}\Z")
ID_RULE: Final = "must be 1 to 64 of a-z, 0-9, `_` and `-`, beginning and ending with a letter or digit"
_METHOD_RULE: Final = f"must be exactly one of {', '.join(METHODS)}"


class Text(fields.String):
    """A text, as it is written."""

    default_error_messages = {"invalid": "must be a text (in quotes)"}  # noqa: RUF012 - marshmallow collects it


class Flag(fields.Field[bool]):
    """true or false, nothing that merely looks like it."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("must be true or false")
        return value


class Whole(fields.Field[int]):
    """A whole number from ``least`` to ``most``."""

    def __init__(self, least: int, most: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._least, self._most = least, most

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self._least <= value <= self._most:
            raise ValidationError(f"must be a whole number from {self._least} to {self._most}")
        return value


class Decimal(fields.Field[float]):
    """A number, whole or decimal, more than 0 (or from ``least``) and at most ``most``."""

    def __init__(self, most: float, unit: str = "", *, least: float | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._least, self._most = least, most
        lower = "more than 0" if least is None else f"at least {least:g}"
        self._rule = f"must be a number, {lower} and at most {most:g}{unit and f' {unit}'}"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError(self._rule)
        enough = value > 0 if self._least is None else value >= self._least
        if not enough or value > self._most:
            raise ValidationError(self._rule)
        return float(value)


class RateText(fields.Field[Rate]):
    """``n/s`` or ``n/m``."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Rate:
        try:
            rate = read_rate(value) if isinstance(value, str) else None
        except ValueError:
            rate = None
        if rate is None or str(rate) != value:
            raise ValidationError('must be a rate such as "50/s" or "600/m"')
        return rate


class Headers(fields.Field[dict[str, str | None]]):
    """``{name: value}``; the rules depend on whether the webhook is hidden."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **__: Any
    ) -> dict[str, str | None]:
        del attr
        if not isinstance(value, dict):
            raise ValidationError("must be an object of header names and values")
        faults: dict[str, list[str]] = {}
        for name, message in registration_faults(value, hidden=(data or {}).get("hidden") is True):
            faults.setdefault(_WHOLE if name is None else name, []).append(message)
        if faults:
            raise ValidationError(dict(faults))
        return value


class QueryNames(fields.List[str]):
    """The names that a caller may give."""

    default_error_messages = {"invalid": "must be a list of names"}  # noqa: RUF012 - marshmallow collects it

    def __init__(self, **arguments: Any) -> None:
        rule = validate.Regexp(_QUERY_NAME, error="must be 1 to 64 of letters, digits and `._~-`")
        super().__init__(Text(validate=rule), **arguments)

    def _validate(self, value: Any) -> None:
        if len(value) > MAX_QUERY_PARAMS:
            raise ValidationError(f"holds more than {MAX_QUERY_PARAMS} names")
        if len(set(value)) != len(value):
            raise ValidationError("holds a name twice")


class DataSchema(fields.Field[Any]):
    """A JSON Schema that compiles and refers to nothing outside of itself."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        try:
            compile_schema(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return value


class RetryFields(Schema):
    """When another attempt is made."""

    error_messages = _OBJECT_WORDS

    attempts = Whole(1, MAX_ATTEMPTS, required=True)
    initial = Decimal(MAX_PAUSE_S, "seconds")
    factor = Decimal(MAX_FACTOR, least=1)
    maximum = Decimal(MAX_PAUSE_S, "seconds")
    statuses = fields.List(Whole(400, 599), validate=validate.Length(max=50, error="holds more than 50 statuses"))

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Say in the same words everywhere that a field is missing, null or no list."""
        del field_name
        field_obj.error_messages |= _FIELD_WORDS | {"invalid": "must be a list of statuses"}

    @post_load
    def _policy(self, value: dict[str, Any], **_: Any) -> RetryPolicy:
        return RetryPolicy.from_value(value)


class WebhookFields(Schema):
    """One webhook as it is written."""

    error_messages = _OBJECT_WORDS

    id = Text(required=True, validate=validate.Regexp(ID_PATTERN, error=ID_RULE))
    url = Text(required=True)
    method = Text(validate=validate.OneOf(METHODS, error=_METHOD_RULE))
    headers = Headers(load_default=dict)
    query_params = QueryNames(data_key="queryParams", load_default=list)
    payload_encoding = Text(validate=validate.OneOf(["base64"], error='must be "base64"'))
    data_schema = DataSchema(data_key="dataSchema")
    hidden = Flag(load_default=False)
    timeout = Decimal(MAX_TIMEOUT_S, "seconds", load_default=float(DEFAULT_TIMEOUT_S))
    idempotent = Flag(load_default=False)
    reveal_url = Flag(data_key="revealUrl", load_default=False)
    retry = fields.Nested(RetryFields(unknown=RAISE))
    concurrency = Whole(1, MAX_CONCURRENCY)
    rate = RateText()
    description = Text(validate=validate.Length(max=MAX_DESCRIPTION_LENGTH, error="is too long"))

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Say in the same words everywhere that a field is missing or null."""
        del field_name
        field_obj.error_messages |= _FIELD_WORDS


def load_fields(value: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The valid fields of a webhook by their Python names, and every fault as (JSON pointer, sentence)."""
    try:
        return dict(WebhookFields(unknown=RAISE).load(value)), []
    except ValidationError as error:
        valid = error.valid_data if isinstance(error.valid_data, dict) else {}
        return valid, list(_flattened(error.messages))


def _flattened(messages: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Marshmallow's nested messages as pairs of pointer and sentence."""
    if isinstance(messages, dict):
        for step, inner in messages.items():
            yield from _flattened(inner, pointer if step == _WHOLE else f"{pointer}/{escape_step(str(step))}")
    else:
        for message in messages:
            yield pointer, str(message)
