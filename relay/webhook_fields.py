"""The fields of a registration document, one marshmallow schema (design, section 5).

Types are strict here where marshmallow's own are not: its Boolean takes "no", its Integer takes "5".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from relay.data_schema import compile_schema
from relay.header_rules import registration_faults
from relay.object_text import escape_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Ids of webhooks, and names of plugins. ASCII, no normalisation; ``\\Z``, because ``$`` lets a final newline through.
ID_PATTERN: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?\Z")
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
MAX_QUERY_PARAMS: Final = 32
MAX_TIMEOUT_S: Final = 120
DEFAULT_TIMEOUT_S: Final = 20
MAX_DESCRIPTION_LENGTH: Final = 2_000

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


class Seconds(fields.Field[float]):
    """A number of seconds, whole or decimal."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("must be a number of seconds")
        if not 0 < value <= MAX_TIMEOUT_S:
            raise ValidationError(f"must be more than 0 and at most {MAX_TIMEOUT_S} seconds")
        return float(value)


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


class WebhookFields(Schema):
    """One webhook as it is written."""

    error_messages = {"unknown": "is not a known field", "type": "must be an object"}  # noqa: RUF012 - marshmallow collects it

    id = Text(required=True, validate=validate.Regexp(ID_PATTERN, error=ID_RULE))
    url = Text(required=True)
    method = Text(validate=validate.OneOf(METHODS, error=_METHOD_RULE))
    headers = Headers(load_default=dict)
    query_params = QueryNames(data_key="queryParams", load_default=list)
    payload_encoding = Text(validate=validate.OneOf(["base64"], error='must be "base64"'))
    data_schema = DataSchema(data_key="dataSchema")
    hidden = Flag(load_default=False)
    timeout = Seconds(load_default=float(DEFAULT_TIMEOUT_S))
    idempotent = Flag(load_default=False)
    reveal_url = Flag(data_key="revealUrl", load_default=False)
    description = Text(validate=validate.Length(max=MAX_DESCRIPTION_LENGTH, error="is too long"))

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Say in the same words everywhere that a field is missing or null."""
        del field_name
        field_obj.error_messages |= {"required": "is required", "null": "must not be null: leave it out"}


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
