"""The fields of a chain: its steps and what its callers may send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marshmallow import RAISE, ValidationError, fields, post_load, validate

from relay.registration.field_kinds import (
    DESCRIPTION_RULE,
    MAX_AGE_S,
    MAX_DESCRIPTION_LENGTH,
    MAX_QUERY_PARAMS,
    MIN_AGE_S,
    DataSchema,
    Decimal,
    Duration,
    ExpressionText,
    Fields,
    Flag,
    HeadersField,
    ListOf,
    Mappings,
    QueryNames,
    Text,
    expression_of,
)
from relay.registration.header_rules import MAX_HEADERS
from relay.registration.path_params import MAX_PATH_PARAMS
from relay.registration.steps import DEFAULT_CHAIN_TIMEOUT_S, MAX_CHAIN_TIMEOUT_S, MAX_STEPS, Step
from relay.text.ids import ID_PATTERN, ID_RULE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.text.expressions import Expression

MAX_MASKS: Final = 10  # mask expressions of one step


class ChainHeaders(HeadersField):
    """``{name: null}``: the headers that a chain's callers may fill. The chain itself sends none."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **rest: Any
    ) -> dict[str, str | None]:
        headers = super()._deserialize(value, attr, data, **rest)
        faults = {name: ["must be null: a chain sends no headers of its own"] for name in headers if headers[name]}
        if faults:
            raise ValidationError(dict(faults))
        return headers


def _mapped(most: int, **arguments: Any) -> Mappings:
    return Mappings(most, expression_of, "expressions", load_default=dict, **arguments)


class StepFields(Fields):
    """One step as it is written."""

    webhook = Text(required=True, validate=validate.Regexp(ID_PATTERN, error=ID_RULE))
    data = ExpressionText()
    headers = _mapped(MAX_HEADERS)
    query_params = _mapped(MAX_QUERY_PARAMS, data_key="queryParams")
    path_params = _mapped(MAX_PATH_PARAMS, data_key="pathParams")
    when = ExpressionText()
    on_error = Text(
        data_key="onError",
        load_default="stop",
        validate=validate.OneOf(["stop", "continue"], error='must be "stop" or "continue"'),
    )
    for_each = ExpressionText(data_key="forEach")
    mask = ListOf(ExpressionText(), "expressions", most=MAX_MASKS, load_default=list)

    @post_load
    def _step(self, value: dict[str, Any], **_: Any) -> Step:
        return Step(**{**value, "mask": tuple(value["mask"])})


class ChainFields(Fields):
    """One chain as it is written."""

    id = Text(required=True, validate=validate.Regexp(ID_PATTERN, error=ID_RULE))
    steps = ListOf(fields.Nested(StepFields(unknown=RAISE)), "steps", least=1, most=MAX_STEPS, required=True)
    result = ExpressionText()
    headers = ChainHeaders(load_default=dict)
    query_params = QueryNames(data_key="queryParams", load_default=list)
    data_schema = DataSchema(data_key="dataSchema")
    hidden = Flag(load_default=False)
    timeout = Decimal(MAX_CHAIN_TIMEOUT_S, "seconds", load_default=float(DEFAULT_CHAIN_TIMEOUT_S))
    max_age = Duration(MIN_AGE_S, MAX_AGE_S, data_key="maxAge")
    callback = Text(validate=validate.Regexp(ID_PATTERN, error=ID_RULE))
    description = Text(validate=validate.Length(max=MAX_DESCRIPTION_LENGTH, error=DESCRIPTION_RULE))


def name_faults(fields_: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a fault for each expression of a chain that uses an unknown name, and so would silently give null."""
    for number, step in enumerate(fields_["steps"]):
        for pointer, expression, sees_item in step.expressions():
            message = _name_fault(expression, sees_item=sees_item)
            if message:
                yield f"/steps/{number}{pointer}", message
    result = fields_.get("result")
    message = None if result is None else _name_fault(result, sees_item=False)
    if message:
        yield "/result", message


def _name_fault(expression: Expression, *, sees_item: bool) -> str | None:
    known = {"input", "steps", "item"} if sees_item else {"input", "steps"}
    unknown = expression.names - known
    if not unknown:
        return None
    there = "`input`, `steps` and `item`" if sees_item else "`input` and `steps`"
    return f"begins with an unknown name: it sees only {there}"
