"""Evaluates a step's expressions into the triggers of its calls, checked against its webhook's pinned shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.errors import RequestRejected
from relay.registration.steps import MAX_ELEMENTS
from relay.request.trigger import Trigger, check
from relay.text.expressions import Unevaluable
from relay.text.scalars import scalar_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.errors import Fault
    from relay.registration import Shape, Step
    from relay.text.expressions import Expression


#: Why a text of an endpoint is passed on by no step; JSON can hold it as an escape.
HALF_PAIR: Final = "a text holds half of a surrogate pair, which is no character"


class Unmappable(ValueError):
    """A step cannot be made from the results so far; the message says where, for operators, and quotes no data."""


def elements_of(step: Step, seen: Mapping[str, Any]) -> list[Any] | None:
    """Return the elements that ``forEach`` yields; None for a step without ``forEach``. Raises Unmappable."""
    if step.for_each is None:
        return None
    elements = evaluated(step.for_each, seen, "/forEach")
    if not isinstance(elements, list):
        raise Unmappable("/forEach: did not give a list")
    if len(elements) > MAX_ELEMENTS:
        raise Unmappable(f"/forEach: gave more than {MAX_ELEMENTS} elements")
    return elements


def trigger_of(step: Step, shape: Shape, seen: Mapping[str, Any]) -> Trigger:
    """Return the trigger of one call, as it will be sent. Raises Unmappable."""
    data = None if step.data is None else evaluated(step.data, seen, "/data")
    headers = _texts(step.headers, seen, "/headers")
    query_params = _texts(step.query_params, seen, "/queryParams")
    path_params = _texts(step.path_params, seen, "/pathParams")
    try:
        return check(shape, Trigger(data, headers, query_params, path_params))
    except RequestRejected as error:
        raise Unmappable(reason_of(error.faults)) from None
    except UnicodeEncodeError:
        raise Unmappable(HALF_PAIR) from None


def reason_of(faults: tuple[Fault, ...]) -> str:
    """Return a trigger's first fault; without the path if it is inside the data, where names may be private."""
    pointer = faults[0].pointer
    place = "/data" if pointer.startswith("/data") else pointer
    return f"{place}: {faults[0].message}"


def evaluated(expression: Expression, seen: Mapping[str, Any], place: str) -> Any:
    """Evaluate an expression. Raises Unmappable."""
    try:
        return expression.evaluate(seen)
    except Unevaluable as error:
        raise Unmappable(f"{place}: {error}") from None


def _texts(expressions: Mapping[str, Expression], seen: Mapping[str, Any], place: str) -> dict[str, str]:
    """Return mapped headers or parameters as texts; those that are null are left out."""
    found: dict[str, str] = {}
    for name, expression in expressions.items():
        value = evaluated(expression, seen, f"{place}/{name}")
        if value is not None:
            found[name] = _text(value, f"{place}/{name}")
    return found


def _text(value: Any, place: str) -> str:
    text = scalar_text(value)
    if text is None:
        raise Unmappable(f"{place}: gave a list or an object, not a string")
    return text
