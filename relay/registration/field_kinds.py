"""The kinds of fields that a registration document is made of.

Types are strict here where marshmallow's own are not: its Boolean takes "no", its Integer takes "5".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marshmallow import Schema, ValidationError, fields, validate

from relay.registration.data_schema import compile_schema
from relay.registration.fixed_data import MAX_FIXED_BYTES
from relay.registration.header_rules import registration_faults
from relay.registration.path_params import (
    DEFAULT_PATTERN,
    MAX_PATTERN_LENGTH,
    PARAMETER_NAME,
    PARAMETER_NAME_RULE,
    compile_pattern,
)
from relay.text.expressions import Expression, read_expression
from relay.text.ids import ID_PATTERN, ID_RULE
from relay.text.json_pointers import escape_step
from relay.text.quantities import Rate, read_rate, read_seconds
from relay.text.similar import hint
from relay.text.strict_json import dump_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_QUERY_PARAMS: Final = 32
MAX_DESCRIPTION_LENGTH: Final = 2_000
DESCRIPTION_RULE: Final = f"is longer than {MAX_DESCRIPTION_LENGTH:,} characters"
MIN_AGE_S: Final = 1  # how old a call may become before it is final
MAX_AGE_S: Final = 30 * 24 * 3600

_UNKNOWN: Final = "is not a known field"
_FIELD_WORDS: Final = {"required": "is required", "null": "must not be null: leave it out"}
WHOLE: Final = "_schema"  # marshmallow's key for the faults of an object as a whole


class Fields(Schema):
    """An object of the document. Its messages for missing, null and unknown fields are the same everywhere."""

    error_messages = {"unknown": _UNKNOWN, "type": "must be an object"}  # noqa: RUF012 - marshmallow collects it

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Give the field, and the items of a list, their messages."""
        del field_name
        for each in (field_obj, getattr(field_obj, "inner", field_obj)):
            each.error_messages |= _FIELD_WORDS

    def handle_error(self, error: ValidationError, data: Any, **_: Any) -> None:
        """Add to the message of an unknown field the name that was probably meant."""
        del data
        messages = error.messages
        if isinstance(messages, dict):
            for name in messages:
                if messages[name] == [_UNKNOWN]:
                    messages[name] = [_UNKNOWN + hint(str(name), field_names(type(self)))]


def field_names(schema: type[Schema]) -> set[str]:
    """Return the names of a schema's fields as they are written."""
    return {field.data_key or name for name, field in schema().fields.items()}


class Text(fields.String):
    """A text, taken as it is written."""

    default_error_messages = {"invalid": "must be a string (in quotes)", **_FIELD_WORDS}  # noqa: RUF012 - see above


class Flag(fields.Field[bool]):
    """true or false, and nothing that merely looks like one of them."""

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


class Duration(fields.Field[int]):
    """A number of seconds or a duration text, from ``least_s`` to ``most_s``; its value is in milliseconds."""

    def __init__(self, least_s: int, most_s: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._least_s, self._most_s = least_s, most_s
        self._rule = (
            f'must be a number of seconds or a string such as "90s", "15m", "12h" or "7d", 1 s to {most_s // 86400} d'
        )

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        try:
            length_s = read_seconds(value) if isinstance(value, str) else value
        except ValueError:
            raise ValidationError(self._rule) from None
        if isinstance(length_s, bool) or not isinstance(length_s, int | float):
            raise ValidationError(self._rule)
        if not self._least_s <= length_s <= self._most_s:
            raise ValidationError(self._rule)
        return round(length_s * 1000)


def rate_of(value: Any) -> Rate:
    """Read ``n/s`` or ``n/m``. Raises marshmallow's ValidationError, as all readers here do."""
    try:
        rate = read_rate(value) if isinstance(value, str) else None
    except ValueError:
        rate = None
    if rate is None or str(rate) != value:
        raise ValidationError('must be a rate such as "50/s" or "600/m"')
    return rate


class HeadersField(fields.Field[dict[str, str | None]]):
    """``{name: value}``; the rules depend on whether the webhook is hidden."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **__: Any
    ) -> dict[str, str | None]:
        del attr
        if not isinstance(value, dict):
            raise ValidationError("must be an object of header names and values")
        faults: dict[str, list[str]] = {}
        for name, message in registration_faults(value, hidden=(data or {}).get("hidden") is True):
            faults.setdefault(WHOLE if name is None else name, []).append(message)
        if faults:
            raise ValidationError(dict(faults))
        return value


class QueryNames(fields.List[str]):
    """The query parameters that a caller may give."""

    default_error_messages = {"invalid": "must be a list of names"}  # noqa: RUF012 - marshmallow collects it

    def __init__(self, **arguments: Any) -> None:
        rule = validate.Regexp(PARAMETER_NAME, error=PARAMETER_NAME_RULE)
        super().__init__(Text(validate=rule), **arguments)

    def _validate(self, value: Any) -> None:
        if len(value) > MAX_QUERY_PARAMS:
            raise ValidationError(f"holds more than {MAX_QUERY_PARAMS} names")
        if len(set(value)) != len(value):
            raise ValidationError("holds a name twice")


def schema_of(value: Any) -> Any:
    """Return a JSON Schema that compiles and refers to nothing outside of itself."""
    try:
        compile_schema(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None
    return value


def fixed_data_of(value: Any) -> dict[str, Any]:
    """Return an object of the members that the registration adds to a caller's data."""
    if not isinstance(value, dict) or not value:
        raise ValidationError("must be an object of at least one member, with values")
    written = dump_json(value)
    if len(written) > MAX_FIXED_BYTES:
        raise ValidationError(f"is larger than {MAX_FIXED_BYTES} bytes")
    if rb"\u0000" in written:
        raise ValidationError("holds the character NUL")
    return value


class ListOf(fields.List[Any]):
    """A list of ``least`` to ``most`` items, which its message calls ``what``."""

    def __init__(self, inner: fields.Field[Any], what: str, *, most: int, least: int = 0, **arguments: Any) -> None:
        rule = f"must be a list of {least} to {most} {what}" if least else f"must be a list of at most {most} {what}"
        words: dict[str, Any] = {"invalid": rule}
        super().__init__(inner, validate=validate.Length(least, most, error=rule), error_messages=words, **arguments)


class Mappings(fields.Field[dict[str, Any]]):
    """``{name: value}``, with at most ``most`` names; ``read`` reads a value, ``what`` says what values are."""

    def __init__(self, most: int, read: Callable[[Any], Any], what: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._most, self._read, self._what = most, read, what

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError(f"must be an object of names and {self._what}")
        if len(value) > self._most:
            raise ValidationError(f"holds more than {self._most} names")
        found: dict[str, Any] = {}
        faults: dict[str, Any] = {}
        for name, each in value.items():
            try:
                found[name] = self._read(each)
            except ValidationError as error:
                faults[name] = error.messages
        if faults:
            raise ValidationError(dict(faults))
        return found


def expression_of(value: Any) -> Expression:
    """Read a text as an expression."""
    if not isinstance(value, str):
        raise ValidationError("must be a JMESPath expression (a string, in quotes)")
    try:
        return read_expression(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def path_pattern_of(value: Any) -> str:
    """Return the pattern of a path parameter that is written as ``{pattern}``."""
    if not isinstance(value, dict) or any(name != "pattern" for name in value):
        raise ValidationError("must be an object with nothing but a `pattern`, which may be left out")
    pattern = value.get("pattern", DEFAULT_PATTERN)
    if not isinstance(pattern, str) or not 1 <= len(pattern) <= MAX_PATTERN_LENGTH:
        raise ValidationError({"pattern": [f"must be a string of 1 to {MAX_PATTERN_LENGTH} characters"]})
    try:
        compile_pattern(pattern)
    except ValueError:
        raise ValidationError({"pattern": ["is not a regular expression (without look-around)"]}) from None
    return pattern


def flattened(messages: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Yield marshmallow's nested messages as pairs of pointer and sentence."""
    if isinstance(messages, dict):
        for step, inner in messages.items():
            yield from flattened(inner, pointer if step == WHOLE else f"{pointer}/{escape_step(str(step))}")
    else:
        for message in messages:
            yield pointer, str(message)


class CommonFields(Fields):
    """The fields that webhooks and chains have in common, as they are written."""

    id = Text(required=True, validate=validate.Regexp(ID_PATTERN, error=ID_RULE))
    query_params = QueryNames(data_key="queryParams", load_default=list)
    data_schema = fields.Function(deserialize=schema_of, data_key="dataSchema")
    hidden = Flag(load_default=False)
    max_age = Duration(MIN_AGE_S, MAX_AGE_S, data_key="maxAge")
    callback = Text(validate=validate.Regexp(ID_PATTERN, error=ID_RULE))
    description = Text(validate=validate.Length(max=MAX_DESCRIPTION_LENGTH, error=DESCRIPTION_RULE))
