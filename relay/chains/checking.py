"""Checks whether the steps of chains match the webhooks that they name, before a document is stored.

Pure, given a lookup of the shapes that webhooks will have once the document is applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from relay.errors import RequestRejected
from relay.registration.data_schema import compile_schema, schema_faults
from relay.registration.steps import MAX_CHAIN_DEPTH
from relay.request.trigger import Trigger, check
from relay.text.json_pointers import escape_step
from relay.text.scalars import scalar_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from relay.registration import ChainTarget, Shape, Step
    from relay.text.expressions import Expression

#: Returns the shape that a webhook will have, by its id; None if it will not be registered.
ShapeLookup: TypeAlias = "Callable[[str], Shape | None]"
_FaultPairs: TypeAlias = "Iterator[tuple[str, str]]"


def chain_faults(shape: Shape, target: ChainTarget, lookup: ShapeLookup) -> _FaultPairs:
    """Yield each fault of a chain, as JSON pointer and message: targets, cycles, depth, mapped names, literals."""
    for number, step in enumerate(target.steps):
        called = lookup(step.webhook)
        if called is None:
            yield f"/steps/{number}/webhook", "is not registered for this plugin, and not in this document"
            continue
        yield from ((f"/steps/{number}{pointer}", message) for pointer, message in step_faults(step, called))
    message = _nesting_fault(shape, lookup)
    if message is not None:
        yield "/steps", message


def step_faults(step: Step, called: Shape) -> _FaultPairs:
    """Yield the mappings of a step that its webhook does not accept."""
    faults = list(_name_faults(step, called))
    yield from faults or _literal_faults(step, called)


def _name_faults(step: Step, called: Shape) -> _FaultPairs:
    fillable = {name.lower() for name in called.fillable_headers}
    seen: set[str] = set()
    for name in step.headers:
        lower = name.lower()
        if not name.isascii() or lower not in fillable:
            yield f"/headers/{escape_step(name)}", f"is not a header that `{called.webhook_id}` lets its caller fill"
        elif lower in seen:
            yield f"/headers/{escape_step(name)}", "is given twice (upper and lower case are the same)"
        seen.add(lower)
    for name in step.query_params:
        if name not in called.query_params:
            yield f"/queryParams/{escape_step(name)}", f"is not a parameter of `{called.webhook_id}`"
    for name in called.path_params:
        if name not in step.path_params:
            yield f"/pathParams/{escape_step(name)}", f"is required: it is a part of the path of `{called.webhook_id}`"
    for name in step.path_params:
        if name not in called.path_params:
            yield f"/pathParams/{escape_step(name)}", f"is not a path parameter of `{called.webhook_id}`"


def _literal_faults(step: Step, called: Shape) -> _FaultPairs:
    """Yield constant values that the webhook can never accept; other expressions may yield any value."""
    fixed, data = _constant_data(step.data)
    constants = (_constants(each) for each in (step.headers, step.query_params, step.path_params))
    unknown = {f"/pathParams/{escape_step(name)}" for name, each in step.path_params.items() if not each.constant}
    try:
        check(called, Trigger(data, *constants))
    except RequestRejected as error:
        for fault in error.faults:
            if fault.pointer not in unknown and (fixed or not fault.pointer.startswith("/data")):
                yield _reported_pointer(fault.pointer), f"{fault.message} (of `{called.webhook_id}`)"
    if step.data is not None and not fixed:
        yield from _member_faults(step.data, called)


def _reported_pointer(pointer: str) -> str:
    """Return the pointer to report: a fault anywhere in mapped data is reported for the whole expression."""
    return "/data" if pointer.startswith("/data") else pointer


def _constant_data(expression: Expression | None) -> tuple[bool, Any]:
    """Return whether the data to send is known at registration, and if so, the data."""
    if expression is None:
        return True, None
    return (True, expression.evaluate({})) if expression.constant else (False, None)


def _constants(expressions: Mapping[str, Expression]) -> dict[str, Any]:
    """Return the values of constant mappings, in the form they are sent in; null is left out."""
    values = {name: each.evaluate({}) for name, each in expressions.items() if each.constant}
    return {name: _sent(value) for name, value in values.items() if value is not None}


def _sent(value: Any) -> Any:
    text = scalar_text(value)
    return value if text is None else text


def _member_faults(expression: Expression, called: Shape) -> _FaultPairs:
    """Yield literal members that do not match their schemas, in an object that the expression builds."""
    schema, members = called.data_schema, expression.members()
    if not members or not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        return
    kept = {name: schema[name] for name in ("$schema", "$defs", "definitions", "properties") if name in schema}
    try:
        validator = compile_schema(kept)
    except ValueError:  # it refers to a part that was left out
        return
    for pointer, message in schema_faults(validator, members):
        yield "/data", f"{message} (member `{pointer[1:]}`, of `{called.webhook_id}`)"


def _nesting_fault(shape: Shape, lookup: ShapeLookup) -> str | None:
    """Return the fault of a chain that contains itself, or chains nested beyond the limit; None if there is none."""
    level = {shape.webhook_id}
    uses = {shape.webhook_id: shape.uses}
    for _ in range(MAX_CHAIN_DEPTH):
        level = {used for webhook_id in level for used in _uses(webhook_id, uses, lookup)}
        level = {webhook_id for webhook_id in level if _uses(webhook_id, uses, lookup)}
        if shape.webhook_id in level:
            return "leads back to this chain"
        if not level:
            return None
    return f"has chains in chains deeper than {MAX_CHAIN_DEPTH}"


def _uses(webhook_id: str, known: dict[str, tuple[str, ...]], lookup: ShapeLookup) -> tuple[str, ...]:
    if webhook_id not in known:
        found = lookup(webhook_id)
        known[webhook_id] = found.uses if found is not None else ()
    return known[webhook_id]
