"""Tests of the faults that `make mutate` puts into the product: each kind changes one place, and what it makes is code."""

from __future__ import annotations

import ast
import textwrap

import pytest

from tests.mutation import python_faults, text_faults


@pytest.mark.parametrize(
    ("statement", "after"),
    [
        ("if a < b: stop()", {"(a <= b)", "pass"}),
        ("if a and not b: a -= 1", {"(a or not b)", "(a)", "(not b)", "(b)", "a += 1", "2", "0"}),
        ("if ready: return 0", {"(not ready)", "return", "1"}),
        ("found = [each for each in rows if each.kept]", {"(not each.kept)"}),
        ("self.row = {'x': True, **more}", {"pass", "({**more})", "({'x': True})", "False"}),
        ("call(a, most=2, least=b)", {"pass", "(call(a, least=b))", "(call(a, most=2))", "3", "1"}),
        ("text = min(names)[1:]", {"(max)", ":", "2", "0"}),
        ("for each in rows: continue", {"break"}),
        ("log.event('said', count=1)", set()),
        ("kept: int | None = f'{1}'", set()),
    ],
)
def test_each_part_of_a_statement_of_python_is_changed_alone(statement, after):
    text = f"def act():\n    {statement}\n"
    found = list(python_faults.faults(text))
    assert {each for _, _, each, _ in found} == after
    for line, _, _, changed in found:
        assert line == 2
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))


def test_an_exception_less_is_caught():
    text = textwrap.dedent("""\
        def act():
            try:
                go()
            except (KeyError, ValueError):
                raise
    """)
    found = [after for _, before, after, _ in python_faults.faults(text) if "Key" in before]
    assert found == ["((ValueError,))", "((KeyError,))"]


def test_what_a_constructor_keeps_is_left_alone():
    assert list(python_faults.faults("class A:\n    def __init__(self, b):\n        self.b = b\n")) == []


@pytest.mark.parametrize(
    ("suffix", "line", "after"),
    [
        (".lua", "  if found then return 0 end -- 5 or not", {"if not (found) then return 0 end -- 5 or not", "if found then return 1 end -- 5 or not"}),
        (".lua", "  r.state = 'a > b'", {""}),
        (".lua", "  if a >= b and c then", {"if a > b and c then", "if a >= b or c then"}),
        (".js", "  if (busy) { return true; }", {"if (!(busy)) { return true; }", "if (busy) { return false; }"}),
        (".js", "  this.count = a ?? 2;", {"", "this.count = a && 2;", "this.count = a ?? 3;"}),
        (".js", "  // a > 1", set()),
    ],
)  # fmt: skip
def test_each_part_of_a_line_of_lua_and_javascript_is_changed_alone(suffix, line, after):
    text = f"first\n{line}\nlast"
    found = list(text_faults.faults(text, suffix))
    assert {each for _, _, each, _ in found} == after
    for number, _, each, changed in found:
        assert number == 2
        assert [other.strip() for other in changed.split("\n")] == ["first", each, "last"]
