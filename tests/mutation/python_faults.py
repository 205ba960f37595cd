"""Makes small faults in Python: a condition turned, a bound moved, a statement or an argument left out."""

from __future__ import annotations

import ast
import copy
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_OTHER: Final = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
}
_OTHER_NAME: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SAID: Final = ("log.event", "log.fault")  # what is logged is for people


def faults(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield each fault in a function as ``(line, before, after, whole text)``."""
    source = _Source(text)
    for function in ast.walk(ast.parse(text)):
        # What a constructor keeps is missed at once.
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name != "__init__":
            for node in _own(function.body):
                for place, other in chain(_expressions(node), _statements(node)):
                    yield source.changed(place, other)


def _own(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield the nodes of a function that do something, without those of functions within it, whose turn comes."""
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.JoinedStr):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in _SAID:
            continue
        yield node
        todo += [node.value] if isinstance(node, ast.AnnAssign) and node.value else ast.iter_child_nodes(node)


def _expressions(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:  # noqa: C901, PLR0912 - a case for each kind
    """Yield what a careless change could have made of an expression, as its place and what stands there."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _OTHER:
            yield node, _with(node, ops=[_OTHER[type(operator)]()])
        case ast.BoolOp():
            yield node, _with(node, op=_OTHER[type(node.op)]())
            yield from _without_one(node, "values")
        case ast.UnaryOp(op=ast.Not()):
            yield node, node.operand
        case ast.BinOp() if type(node.op) in _OTHER:
            yield node, _with(node, op=_OTHER[type(node.op)]())
        case ast.Constant(value=bool()):
            yield node, ast.Constant(value=not node.value)
        case ast.Constant(value=int()):
            yield node, ast.Constant(value=node.value + 1)
            if node.value > 0:
                yield node, ast.Constant(value=node.value - 1)
        case ast.Call():
            yield from _without_one(node, "keywords")
            if isinstance(node.func, ast.Name) and node.func.id in _OTHER_NAME:
                yield node.func, ast.Name(_OTHER_NAME[node.func.id])
        case ast.Dict():
            for index in range(len(node.keys)):
                keys, values = list(node.keys), list(node.values)
                del keys[index], values[index]
                yield node, _with(node, keys=keys, values=values)
        case ast.List(ctx=ast.Load(), elts=[_, _, *_]) | ast.Set(elts=[_, _, *_]):
            yield from _without_one(node, "elts")
        case ast.Slice():
            if node.lower:
                yield node, _with(node, lower=None)
            if node.upper:
                yield node, _with(node, upper=None)
        case ast.IfExp():
            yield node, _with(node, body=node.orelse, orelse=node.body)
        case ast.comprehension(ifs=[ast.Name() | ast.Call() | ast.Attribute() as test]):
            yield test, ast.UnaryOp(ast.Not(), test)


def _statements(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield what a careless change could have made of a statement, as its place and what stands there."""
    match node:
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield node, ast.Return(value=None)
        case ast.Continue():
            yield node, ast.Break()
        case ast.Break():
            yield node, ast.Continue()
        case ast.Raise() | ast.Delete() | ast.Expr(value=ast.Call() | ast.Await() | ast.Yield() | ast.YieldFrom()):
            yield node, ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, ast.Pass()
        case ast.AugAssign() if type(node.op) in _OTHER:
            yield node, _with(node, op=_OTHER[type(node.op)]())
        case ast.If(test=ast.Name() | ast.Call() | ast.Attribute() as test):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.While(test=ast.Name() | ast.Call() | ast.Attribute() as test):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.ExceptHandler(type=ast.Tuple() as types):
            yield from _without_one(types, "elts")


def _with(node: ast.AST, **fields: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _without_one(node: ast.AST, field: str) -> Iterator[tuple[ast.AST, ast.AST]]:
    values = getattr(node, field)
    for index in range(len(values)):
        yield node, _with(node, **{field: [*values[:index], *values[index + 1 :]]})


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


class _Source:
    """A file's text, in which nodes are replaced."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        self._starts = [0]
        for line in text.encode().splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def changed(self, place: ast.AST, other: ast.AST) -> tuple[int, str, str, str]:
        start = self._starts[place.lineno - 1] + place.col_offset
        end = self._starts[place.end_lineno - 1] + place.end_col_offset
        written = ast.unparse(ast.fix_missing_locations(other))
        if isinstance(other, ast.expr) and not isinstance(other, ast.Slice | ast.Constant):
            written = f"({written})"
        before = " ".join(self._text[start:end].decode().split())
        after = (self._text[:start] + written.encode() + self._text[end:]).decode()
        return place.lineno, before, written, after
