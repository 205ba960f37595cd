"""JMESPath expressions (jmespath.org) with limits: compiled once, checked when registered, evaluated within a budget.

There are no functions but JMESPath's own. The same expression over the same value always gives the same result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_EXPRESSION_LENGTH: Final = 4_096  # characters
MAX_EXPRESSION_DEPTH: Final = 48
#: How many nodes of the expression one evaluation may visit; a projection visits its part once per element.
MAX_VISITS: Final = 1_000_000
#: The largest value: the characters of its texts and names, and one for each value and name.
MAX_VALUE_SIZE: Final = 16 * 1024 * 1024
MAX_VALUE_DEPTH: Final = 200
_CACHED: Final = 4_096

_WITH_REFERENCES: Final = frozenset({"map", "sort_by", "min_by", "max_by"})
#: Nodes that make new values; the others select from existing ones.
_MAKERS: Final = frozenset({"multi_select_list", "multi_select_dict", "flatten", "function_expression"})
_CONSTANTS: Final = frozenset({"literal", "multi_select_list", "multi_select_dict", "key_val_pair"})
#: Nodes whose first child's result is the input of their other children.
_OF_PARTS: Final = frozenset(
    ["subexpression", "index_expression", "pipe", "projection", "value_projection", "filter_projection", "flatten"]
)
_CHARACTERS_A_VISIT: Final = 64  # of a text, or elements of a list, that count as one visit


class Unevaluable(ValueError):
    """An expression that failed, or gave something that is not a JSON value; its message quotes nothing."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression as it was written. Make it with ``read_expression``."""

    text: str

    def evaluate(self, value: Any) -> Any:
        """Evaluate the expression on a JSON value. Raises Unevaluable."""
        interpreter = _Interpreter()
        try:
            result = interpreter.visit(_parsed(self.text), value)
            interpreter.measure(result)
        except Unevaluable:
            raise
        except RecursionError:
            raise Unevaluable("nests too deep") from None
        except (JMESPathError, ArithmeticError, ValueError, TypeError):
            raise Unevaluable("failed: a function was given an argument that it does not accept") from None
        return result

    @property
    def names(self) -> frozenset[str]:
        """The members of the input value that the expression refers to by name."""
        return frozenset(_roots(_parsed(self.text)))

    @property
    def constant(self) -> bool:
        """Whether the expression consists of literals only, so that ``evaluate`` returns the same for any object."""
        return _is_constant(_parsed(self.text))

    def members(self) -> dict[str, Expression | Any] | None:
        """Return the values of the constant members of an object that the expression builds; None if it builds none."""
        node = _parsed(self.text)
        if node["type"] != "multi_select_dict":
            return None
        found = {pair["value"]: pair["children"][0] for pair in node["children"]}
        return {name: _Interpreter().visit(inner, {}) for name, inner in found.items() if _is_constant(inner)}


def read_expression(text: str) -> Expression:
    """Read and check an expression; raise ``ValueError`` with a sentence that does not quote it."""
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise ValueError(f"is longer than {MAX_EXPRESSION_LENGTH} characters")
    try:
        tree = _parsed(text)
    except JMESPathError as error:
        place = getattr(error, "lex_position", None)
        where = f" at character {place + 1}" if isinstance(place, int) and place >= 0 else ""
        path = "; JMESPath has no `$`: write `input.data` for `$.input.data`" if text.lstrip().startswith("$") else ""
        raise ValueError(f"is not a JMESPath expression{where}{path}") from None
    except (RecursionError, ValueError, TypeError):
        raise ValueError("is not a JMESPath expression") from None
    fault = next(_faults(tree, 1, may_refer=False), None)
    if fault is not None:
        raise ValueError(fault)
    return Expression(text)


def is_true(value: Any) -> bool:
    """Return whether a value is true in JMESPath: null, false and empty texts, lists and objects are not (0 is)."""
    return not (value is None or value is False or (isinstance(value, str | list | dict) and not value))


@lru_cache(_CACHED)
def _parsed(text: str) -> Mapping[str, Any]:
    parsed: Mapping[str, Any] = jmespath.compile(text).parsed
    return parsed


class _Interpreter(TreeInterpreter):  # type: ignore[misc]  # jmespath is untyped
    """One evaluation, with limits: a value may contain the same part many times, so that few nodes make gigabytes."""

    def __init__(self) -> None:
        super().__init__()
        self._left = MAX_VISITS
        self._sizes: dict[int, tuple[int, int]] = {}  # of lists and objects by identity: size and depth
        self._kept: list[Any] = []  # the measured values, so that no identity is reused

    def visit(self, node: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        self._spend(1)
        result = super().visit(node, *args, **kwargs)
        if node["type"] in _MAKERS:
            self.measure(result)
            if isinstance(result, str):
                self._spend(len(result) // _CHARACTERS_A_VISIT)
        elif isinstance(result, list):
            self._spend(len(result) // _CHARACTERS_A_VISIT)
        return result

    def measure(self, value: Any, depth: int = 0) -> tuple[int, int]:
        """Return size and depth of a value written out as JSON. Raises Unevaluable if it is too large or not JSON."""
        if isinstance(value, dict | list):
            return self._sizes.get(id(value)) or self._measure_inside(value, depth)
        if isinstance(value, str):
            return self._checked(len(value) + 1, 0)
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return 1, 0
        raise Unevaluable("gave something that is not a JSON value")

    def _measure_inside(self, value: dict[str, Any] | list[Any], depth: int) -> tuple[int, int]:
        if depth > MAX_VALUE_DEPTH:
            raise Unevaluable("nests too deep")
        size, levels = 1, 0
        if isinstance(value, dict):
            size += sum(len(name) + 1 for name in value)
        for item in value.values() if isinstance(value, dict) else value:
            inner_size, inner_levels = self.measure(item, depth + 1)
            size += inner_size
            levels = max(levels, inner_levels)
        found = self._sizes[id(value)] = self._checked(size, levels + 1)
        self._kept.append(value)
        return found

    def _checked(self, size: int, depth: int) -> tuple[int, int]:
        if size > MAX_VALUE_SIZE:
            raise Unevaluable("gives too large a value")
        if depth > MAX_VALUE_DEPTH:
            raise Unevaluable("nests too deep")
        return size, depth

    def _spend(self, visits: int) -> None:
        self._left -= visits
        if self._left < 0:
            raise Unevaluable("takes too long")


def _faults(node: Mapping[str, Any], depth: int, *, may_refer: bool) -> Iterator[str]:
    """Yield the faults that jmespath would find only when the expression is evaluated."""
    kind = node["type"]
    if depth > MAX_EXPRESSION_DEPTH:
        yield f"nests deeper than {MAX_EXPRESSION_DEPTH}"
        return
    if kind == "expref" and not may_refer:
        yield "has a `&` where no function accepts one"
    if kind == "literal" and not _is_json(node["value"]):
        yield "has a literal that is not a JSON value"
    if kind == "slice":
        return  # its children are numbers
    if kind == "function_expression":
        yield from _call_faults(node["value"], len(node["children"]))
    refers = kind == "function_expression" and node["value"] in _WITH_REFERENCES
    for child in node["children"]:
        yield from _faults(child, depth + 1, may_refer=refers)


def _call_faults(name: str, given: int) -> Iterator[str]:
    function = Functions.FUNCTION_TABLE.get(name)
    if function is None:
        yield "calls a function that JMESPath does not have"
        return
    signature = function["signature"]
    variadic = bool(signature) and bool(signature[-1].get("variadic"))
    if given < len(signature) or (given > len(signature) and not variadic):
        yield f"calls `{name}` with {given} argument{'s' * (given != 1)}: it takes {len(signature)}"


def _is_json(value: Any) -> bool:
    try:
        _Interpreter().measure(value)
    except (Unevaluable, RecursionError):
        return False
    return True


def _is_constant(node: Mapping[str, Any]) -> bool:
    return node["type"] in _CONSTANTS and all(map(_is_constant, node["children"]))


def _roots(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields that the expression looks up in its input value itself, not in a part of it."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        yield node["value"]
    elif kind in {"expref", "slice"}:
        return
    elif kind in _OF_PARTS:
        yield from _roots(children[0])
    else:
        for child in children:
            yield from _roots(child)
