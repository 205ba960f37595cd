"""The fields of a chain: its steps and what its callers may send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marshmallow import RAISE, ValidationError, fields, post_load, validate

from relay.registration.field_kinds import (
    MAX_QUERY_PARAMS,
    CommonFields,
    Decimal,
    Fields,
    HeadersField,
    ListOf,
    Mappings,
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

    def _deserialize(self, *given: Any, **rest: Any) -> dict[str, str | None]:
        headers = super()._deserialize(*given, **rest)
        faults = {name: ["must be null: a chain sends no headers of its own"] for name in headers if headers[name]}
        if faults:
            raise ValidationError(dict(faults))
        return headers


def _expression(**arguments: Any) -> fields.Function:
    return fields.Function(deserialize=expression_of, **arguments)


def _mapped(most: int, **arguments: Any) -> Mappings:
    return Mappings(most, expression_of, "expressions", load_default=dict, **arguments)


class StepFields(Fields):
    """One step as it is written."""

    webhook = Text(required=True, validate=validate.Regexp(ID_PATTERN, error=ID_RULE))
    data = _expression()
    headers = _mapped(MAX_HEADERS)
    query_params = _mapped(MAX_QUERY_PARAMS, data_key="queryParams")
    path_params = _mapped(MAX_PATH_PARAMS, data_key="pathParams")
    when = _expression()
    on_error = Text(
        data_key="onError",
        load_default="stop",
        validate=validate.OneOf(["stop", "continue"], error='must be "stop" or "continue"'),
    )
    for_each = _expression(data_key="forEach")
    mask = ListOf(_expression(), "expressions", most=MAX_MASKS, load_default=list)

    @post_load
    def _step(self, value: dict[str, Any], **_: Any) -> Step:
        return Step(**{**value, "mask": tuple(value["mask"])})


class ChainFields(CommonFields):
    """One chain as it is written."""

    steps = ListOf(fields.Nested(StepFields(unknown=RAISE)), "steps", least=1, most=MAX_STEPS, required=True)
    result = _expression()
    headers = ChainHeaders(load_default=dict)
    timeout = Decimal(MAX_CHAIN_TIMEOUT_S, "seconds", load_default=float(DEFAULT_CHAIN_TIMEOUT_S))


def name_faults(fields_: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a fault for each expression of a chain that uses an unknown name, and so would silently give null."""
    for pointer, expression, sees_item in _expressions(fields_):
        known = {"input", "steps", "item"} if sees_item else {"input", "steps"}
        if expression.names - known:
            there = "`input`, `steps` and `item`" if sees_item else "`input` and `steps`"
            yield pointer, f"begins with an unknown name: it sees only {there}"


def _expressions(fields_: Mapping[str, Any]) -> Iterator[tuple[str, Expression, bool]]:
    for number, step in enumerate(fields_["steps"]):
        for pointer, expression, sees_item in step.expressions():
            yield f"/steps/{number}{pointer}", expression, sees_item
    if "result" in fields_:
        yield "/result", fields_["result"], False
