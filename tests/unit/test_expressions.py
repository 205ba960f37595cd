"""JMESPath within limits."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.text import expressions
from relay.text.expressions import Expression, Unevaluable, is_true, read_expression

SEEN = {
    "input": {"data": {"name": "Ada", "tags": ["a", "b"], "n": 0}, "headers": {}, "queryParams": {}},
    "steps": [{"status": 200, "data": {"token": "t0ken"}, "error": False}, None],
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("input.data.name", "Ada"),
        ("steps[0].data.token", "t0ken"),
        ("steps[-1].data", None),
        ("join(' ', ['Bearer', steps[0].data.token])", "Bearer t0ken"),
        ("{a: input.data.n, b: 'x'}", {"a": 0, "b": "x"}),
        ("input.data.tags[?@ != 'a']", ["b"]),
        ("steps[].status", [200]),
        ("`1.5`", 1.5),
        ("sort_by(input.data.tags, &@)", ["a", "b"]),
        ("not_null(nope, steps[1], `0`, 'x')", 0),
        ("merge({a: 'x'}, {b: 'y'}, {a: 'z'})", {"a": "z", "b": "y"}),
    ],
)
def test_an_expression_gives_what_jmespath_says(text, value):
    assert read_expression(text).evaluate(SEEN) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "input.", "a[", "{", "steps[0", "'", "a b", "foo(", "1", "$", "a ? b : c", "a." * 40 + "."),
        *(
            "nope(a)",
            "length()",
            "length(a, b)",
            "merge()",
            "&a",
            "[&a]",
            "to_string(&a)",
            "join(&a, b)",
            "`NaN`",
            "`[1e999]`",
        ),
        *("a" * 4097, "[" * 400 + "a" + "]" * 400, "!" * 3000 + "a", "(" * 1500 + "a" + ")" * 1500),
        *("a | " * 400 + "a", "'a' == " * 60 + "a"),
    ],
)
def test_an_invalid_or_useless_expression_is_refused_without_being_quoted(text):
    with pytest.raises(ValueError) as caught:
        read_expression(text)
    assert caught.type is ValueError
    assert len(str(caught.value)) < 120
    assert len(text) < 4 or text not in str(caught.value)


@pytest.mark.parametrize("text", ["max_by(steps, &status)", "map(&data, steps)", "sort_by(a, &b)", "min_by(a, &b)"])
def test_references_are_taken_where_a_function_takes_them(text):
    assert read_expression(text) == Expression(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "length(input.data.n)",
            "sum(input.data.tags)",
            "to_number('nan')",
            "to_number('1e999')",
            "sum([`1e308`, `1e308`])",
        ),
        *("avg([`1" + "0" * 400 + "`])", "max_by(steps, &data)", "ceil(to_number('inf'))", "keys(@.input.data.tags)"),
    ],
)
def test_an_evaluation_that_fails_or_gives_no_json_is_unevaluable(text):
    with pytest.raises(Unevaluable):
        read_expression(text).evaluate(SEEN)


@pytest.mark.parametrize(
    "text",
    [
        "@" + " | [@,@]" * 40,
        "input" + " | {a: @, b: @}" * 40,
        "[input]" + " | [@,@][]" * 40,
        "'aaaaaaaaaaaaaaaa'" + " | join('', [@,@])" * 40,
        "@" + " | [@,@]" * 30 + " | to_string(@)",
        "([@,@]" + " | [@,@]" * 30 + ") == ([@,@]" + " | [@,@]" * 30 + ")",
    ],
)
def test_a_value_that_grows_by_doubling_is_stopped(text):
    with pytest.raises(Unevaluable, match=r"too (large|long)"):
        read_expression(text).evaluate(SEEN)


def test_an_evaluation_that_visits_too_much_is_stopped(monkeypatch):
    monkeypatch.setattr(expressions, "MAX_VISITS", 1000)
    many = {"a": [{"b": 1}] * 400}
    assert read_expression("a[].b").evaluate(many) == [1] * 400
    with pytest.raises(Unevaluable, match="too long"):
        read_expression("a[?b == `1`].b").evaluate(many)


def test_a_value_that_nests_too_deep_is_stopped():
    deep = []
    for _ in range(190):
        deep = [deep]
    assert read_expression("[a]").evaluate({"a": deep})
    with pytest.raises(Unevaluable, match="too deep"):
        read_expression("[[[[[[[[[[[[a]]]]]]]]]]]]").evaluate({"a": deep})


@pytest.mark.parametrize(
    ("value", "truth"), [(None, False), (False, False), ("", False), ([], False), ({}, False), (0, True), ("a", True)]
)
def test_truth_is_jmespath_s(value, truth):
    assert is_true(value) is truth


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("input.data", {"input"}),
        ("steps[0].data.items[?x == y].z", {"steps"}),
        ("join('', [input.a, item.b])", {"input", "item"}),
        ("map(&name, steps)", {"steps"}),
        ("inptu.data || `1`", {"inptu"}),
        ("steps | [0].x", {"steps"}),
        ("{a: input.b, c: `1`}", {"input"}),
        ("steps[1:].a[].b.*", {"steps"}),
        ("@.input", set()),
        ("'text'", set()),
        ("!input.a && steps", {"input", "steps"}),
    ],
)
def test_the_names_that_an_expression_begins_with_are_known(text, names):
    assert read_expression(text).names == names


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        ("'a'", True),
        ('`{"a": 1}`', True),
        ("{a: 'x', b: [`1`]}", True),
        ("input", False),
        ("{a: input.b}", False),
        ("@", False),
    ],
)
def test_a_constant_expression_is_known_as_one(text, constant):
    assert read_expression(text).constant is constant


def test_the_constant_members_of_a_built_object_are_known():
    assert read_expression("{a: 'x', b: input.c, d: `[1]`}").members() == {"a": "x", "d": [1]}
    assert read_expression("input").members() is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_the_same_expression_over_the_same_value_gives_the_same(value):
    expression = read_expression("{a: @, b: to_string(@), c: type(@)}")
    as_text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    if value is not None:  # JMESPath evaluates null to null
        for _ in range(2):
            assert expression.evaluate(value) == {"a": value, "b": as_text, "c": _type(value)}


def _type(value):
    kinds = {bool: "boolean", int: "number", str: "string", list: "array", dict: "object"}
    return kinds[type(value)]


# -- limits, on both sides --------------------------------------------------------------------------------------


def test_an_expression_may_have_so_many_characters_and_no_more():
    inside = "a" * (expressions.MAX_EXPRESSION_LENGTH - 2)
    assert read_expression(f"'{inside}'").evaluate({}) == inside
    with pytest.raises(ValueError, match="longer than 4096"):
        read_expression(f"'{inside}b'")


def test_an_expression_may_nest_so_deep_and_no_deeper():
    most = expressions.MAX_EXPRESSION_DEPTH - 1
    assert read_expression("[" * most + "a" + "]" * most)
    with pytest.raises(ValueError, match="nests deeper than 48"):
        read_expression("[" * (most + 1) + "a" + "]" * (most + 1))


def test_a_value_may_come_to_so_much_and_no_more(monkeypatch):
    monkeypatch.setattr(expressions, "MAX_VALUE_SIZE", 10)
    assert read_expression("a").evaluate({"a": "123456789"}) == "123456789"  # and one for the value
    with pytest.raises(Unevaluable, match="too large"):
        read_expression("a").evaluate({"a": "1234567890"})


def test_a_value_may_nest_so_deep_and_no_deeper():
    def deep(levels):
        return [deep(levels - 1)] if levels > 1 else []

    most = expressions.MAX_VALUE_DEPTH
    assert read_expression("@").evaluate({"a": deep(most - 1)})
    assert read_expression("a").evaluate({"a": deep(most)})
    with pytest.raises(Unevaluable, match="too deep"):
        read_expression("a").evaluate({"a": deep(most + 1)})


def test_an_evaluation_may_visit_so_many_nodes_and_no_more(monkeypatch):
    monkeypatch.setattr(expressions, "MAX_VISITS", 2)
    assert read_expression("[a]").evaluate({"a": 1}) == [1]
    monkeypatch.setattr(expressions, "MAX_VISITS", 1)
    with pytest.raises(Unevaluable, match="too long"):
        read_expression("[a]").evaluate({"a": 1})


def test_a_small_value_that_is_gone_again_hides_no_large_one_in_its_place(monkeypatch):
    monkeypatch.setattr(expressions, "MAX_VALUE_SIZE", 300)
    with pytest.raises(Unevaluable, match="too large"):
        read_expression("[length([a]), [[b, b], [b, b]]]").evaluate({"a": 1, "b": "x" * 100})


def test_a_value_may_come_to_sixteen_million_characters():
    most = "x" * (16 * 1024 * 1024 - 1)  # and one for the value
    assert read_expression("a").evaluate({"a": most}) == most
    with pytest.raises(Unevaluable, match="too large"):
        read_expression("a").evaluate({"a": most + "x"})


@pytest.mark.parametrize(("value", "size"), [({"ab": 1}, 5), ({"": None}, 3), ([[], "a"], 4), ({"a": {"b": "c"}}, 8)])
def test_names_values_and_what_holds_them_count_for_the_size(monkeypatch, value, size):
    monkeypatch.setattr(expressions, "MAX_VALUE_SIZE", size)
    assert read_expression("a").evaluate({"a": value}) == value
    monkeypatch.setattr(expressions, "MAX_VALUE_SIZE", size - 1)
    with pytest.raises(Unevaluable, match="too large"):
        read_expression("a").evaluate({"a": value})


@pytest.mark.parametrize(
    ("text", "where"), [("a.b ^", 5), ("a #", 3), ("#", 1), ("a b", 3), ("a | | b", 5), ("foo.", 5), ("a[", 3)]
)
def test_what_cannot_be_is_told_with_its_place(text, where):
    with pytest.raises(ValueError, match=f"at character {where}$"):
        read_expression(text)


@pytest.mark.parametrize("text", ["$.input.data", " $['input']", "$"])
def test_a_json_path_is_pointed_to_jmespath(text):
    with pytest.raises(ValueError, match=r"JMESPath has no `\$`: write `input.data`"):
        read_expression(text)


@pytest.mark.parametrize(("length", "fits"), [(0, True), (64 * 99, True), (64 * 100 - 1, True), (64 * 100, False)])
@pytest.mark.parametrize(("text", "items", "visits"), [("items", [0], 1), ("to_string(items)", "a", 2)])
def test_a_long_list_that_is_selected_and_a_long_text_that_is_made_cost_as_much_as_they_are_long(
    monkeypatch, text, items, visits, length, fits
):
    monkeypatch.setattr(expressions, "MAX_VISITS", 99 + visits)
    expression, value = read_expression(text), {"items": items * length}
    if fits:
        assert expression.evaluate(value) == items * length
    else:
        with pytest.raises(Unevaluable, match="takes too long"):
            expression.evaluate(value)
