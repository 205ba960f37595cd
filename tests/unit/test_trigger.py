"""Checks of a trigger against its webhook's shape: what a caller may send."""

from contextlib import suppress
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import RequestRejected
from relay.registration import Shape
from relay.request.trigger import Trigger, check
from relay.text.strict_json import read_json

SHAPE = Shape("lab-order", "POST", fillable_headers=("X-Locale", "X-Token"), query_params=("lang", "page"))


def faults(shape=SHAPE, **parts):
    with pytest.raises(RequestRejected) as error:
        check(shape, Trigger(**parts))
    return [(fault.pointer, fault.message) for fault in error.value.faults]


def pointers(shape=SHAPE, **parts):
    return [pointer for pointer, _ in faults(shape, **parts)]


def test_a_trigger_is_an_object_of_three_optional_members():
    assert (
        Trigger.from_value({}) == Trigger() == Trigger.from_value({"data": None, "headers": None, "queryParams": None})
    )
    value = {"data": [1], "headers": {"A": "b"}, "queryParams": {"c": 1}}
    assert Trigger.from_value(value) == Trigger([1], {"A": "b"}, {"c": 1})


@pytest.mark.parametrize("value", [None, [], "x", 5, True, {"Data": 1}, {"body": {}}, {"method": "DELETE"}, {"headers": []}, {"headers": "a"},
                                   {"headers": False}, {"queryParams": "a=b"}, {"queryParams": 0}, {"queryParams": ""}])  # fmt: skip
def test_anything_else_is_rejected(value):
    with pytest.raises(RequestRejected) as error:
        Trigger.from_value(value)
    assert error.value.faults


def test_a_trigger_survives_json_with_every_integer_as_it_was():
    trigger = Trigger({"n": 10**63, "t": "\u00e9\x00"}, {"A": "b"}, {"c": 1.5, "d": True})
    assert Trigger.from_json(trigger.to_json()) == trigger


def test_headers_go_out_under_their_registered_spelling():
    assert check(SHAPE, Trigger(headers={"x-LOCALE": "en"})).headers == {"X-Locale": "en"}


@pytest.mark.parametrize("names", list(permutations(["x-locale", "X-Locale", "X-LOCALE"], 2)), ids="+".join)
def test_a_header_given_twice_is_refused_whichever_case_comes_first(names):
    said = "is given twice (upper and lower case are the same)"
    assert faults(headers=dict.fromkeys(names, "en")) == [(f"/headers/{names[1]}", said)]


def test_unknown_pre_filled_forbidden_and_malformed_names_get_the_same_answer():
    names = [
        "X-Other",
        "Authorization",
        "Transfer-Encoding",
        "X-Locale:",
        "X_Locale",
        "",
        "X-Locale ",
        "X-To\u212aen",
        "\u00e9",
    ]
    found = [faults(headers={name: "secret"}) for name in names]
    assert {message for fault in found for _, message in fault} == {
        "is not a header that callers of this webhook may set"
    }


def test_a_header_given_in_two_cases_is_rejected():
    assert pointers(headers={"X-Locale": "a", "x-locale": "b"}) == ["/headers/x-locale"]


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        " a",
        "a ",
        "a\nb",
        "a\r\n b",
        "a\tb",
        "a\x0bb",
        "\u00e9",
        "\u560d\u560a",
        "a" * 2049,
        None,
        5,
        True,
        ["a"],
        {},
    ],
)
def test_a_header_value_is_visible_ascii_with_inner_blanks(value):
    assert pointers(headers={"X-Locale": value}) == ["/headers/X-Locale"]


def test_header_values_are_bounded_alone_and_together():
    shape = Shape("a", "POST", fillable_headers=tuple(f"X-{number}" for number in range(5)))
    four = {f"X-{number}": "a" * 2048 for number in range(4)}
    assert check(shape, Trigger(headers=four)).headers == four
    assert pointers(shape, headers={**four, "X-4": "a"}) == ["/headers"]


@pytest.mark.parametrize(
    ("value", "text"),
    [("en", "en"), ("", ""), (5, "5"), (10**63, "1" + "0" * 63), (-1.5, "-1.5"), (True, "true"), (False, "false"), ("a&b=c/../{{x}}", "a&b=c/../{{x}}"),
     ("\u00e9\u2028\u200f", "\u00e9\u2028\u200f"), ("a" * 1024, "a" * 1024)],
)  # fmt: skip
def test_query_values_become_text(value, text):
    assert check(SHAPE, Trigger(query_params={"lang": value})).query_params == {"lang": text}


@pytest.mark.parametrize("value", [None, [], {}, ["a"], "a\x00", "a\nb", "\x7f", "\x85", "a" * 1025])
def test_query_values_have_no_other_form(value):
    assert pointers(query_params={"lang": value}) == ["/queryParams/lang"]


@pytest.mark.parametrize("name", ["Lang", "lang ", "lang=en&page", "tenant", "", "lang[]"])
def test_query_names_are_exactly_the_registered_ones(name):
    assert pointers(query_params={name: "x"}) == [f"/queryParams/{name}"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("data", [None, "", {}, [], "text", {"a": [1, None]}, [1, "b"]])
def test_a_method_with_a_body_takes_text_objects_arrays_and_null_as_they_are(method, data):
    assert check(Shape("a", method), Trigger(data)).data == data


@pytest.mark.parametrize("data", [0, 1, 1.5, True, False])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_numbers_and_booleans_are_no_data(data, method):
    assert pointers(Shape("a", method), data=data) == ["/data"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("encoding", ["json", "form", "base64"])
def test_get_and_delete_carry_no_data(method, encoding):
    shape = Shape("a", method, encoding=encoding, data_schema={"type": "string", "minLength": 1})
    for nothing in (None, {}, ""):
        assert check(shape, Trigger(nothing)).data is None
    for something in ([], "x", {"a": 1}, " ", [[]], "aGk="):
        assert pointers(shape, data=something) == ["/data"]


BLOB = Shape("a", "POST", encoding="base64")


@pytest.mark.parametrize("text", ["", "aGVsbG8=", "YQ==", "YWI=", "YWJj", "+/+/", "AAAA" * 100_000])
def test_strict_base64_is_taken(text):
    assert check(BLOB, Trigger(text)).data == text


@pytest.mark.parametrize(
    "data",
    [
        "-_8=",
        "YQ",
        "YQ=",
        "YQ===",
        "YR==",
        "YQ==YQ==",
        "YQ==\n",
        " YQ==",
        "Y Q==",
        "aGVs!!bG8=",
        "=",
        "====",
        "A",
        "\u00e9",
        "YQ==\x00",
        {},
        [],
        {"a": 1},
    ],
)
def test_anything_but_strict_base64_is_rejected(data):
    assert pointers(BLOB, data=data) == ["/data"]


FORM = Shape("a", "POST", encoding="form")


@pytest.mark.parametrize("data", [None, "", "a=b&c", {}, {"a": "b", "c": 1, "d": 1.5, "e": True, "": ""}])
def test_a_form_takes_a_flat_object_or_a_text_as_it_is(data):
    assert check(FORM, Trigger(data)).data == data


@pytest.mark.parametrize(
    ("data", "pointer"), [([], "/data"), ({"a": []}, "/data/a"), ({"a/b": {}}, "/data/a~1b"), ({"a": None}, "/data/a")]
)
def test_a_form_takes_nothing_nested(data, pointer):
    assert pointers(FORM, data=data) == [pointer]


def test_data_has_to_fit_the_registered_schema():
    shape = Shape(
        "a", "POST", data_schema={"type": "object", "required": ["n"], "properties": {"n": {"maximum": 10**40}}}
    )
    assert check(shape, Trigger({"n": 10**40})).data == {"n": 10**40}
    assert pointers(shape, data={"n": 10**40 + 1}) == ["/data/n"]
    assert faults(shape, data={}) == [("/data", "does not fit the registered schema: `required` of `n`")]
    assert pointers(shape) == ["/data"]
    assert pointers(Shape("a", "POST", data_schema=False), data="x") == ["/data"]


def test_all_faults_are_named_but_only_so_many():
    assert sorted(pointers(data=5, headers={"A": "b"}, query_params={"c": 1})) == [
        "/data",
        "/headers/A",
        "/queryParams/c",
    ]
    several = {"headers": {"A": "b", "B": "b"}, "query_params": {"c": 1, "d": 1}}
    assert sorted(pointers(**several)) == ["/headers/A", "/headers/B", "/queryParams/c", "/queryParams/d"]
    many = faults(
        headers={f"A{number}": "b" for number in range(100)},
        query_params={f"{number}": 1 for number in range(100)},
        data=5,
    )
    assert len(many) == 20
    assert all(len(pointer) <= 256 for pointer, _ in faults(headers={"A" * 100_000: "b"}))


def test_faults_never_quote_a_value():
    found = faults(headers={"X-Locale": "hunter2\n"}, query_params={"lang": "hunter2\n"}, data=5) + faults(
        BLOB, data="hunter2"
    )
    assert "hunter2" not in str(found)


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)  # fmt: skip
NAMES = st.sampled_from(["X-Locale", "x-locale", "lang", "page", "data", "headers", "queryParams"]) | st.text()
SHAPES = st.builds(Shape, st.just("a"), st.sampled_from(["GET", "POST"]), st.just(("X-Locale",)), st.just(("lang", "page")),
                   st.sampled_from(["json", "form", "base64"]), st.sampled_from([None, {"type": "object"}, False]))  # fmt: skip


@given(
    SHAPES,
    VALUES
    | st.fixed_dictionaries(
        {},
        optional={
            "data": VALUES,
            "headers": st.dictionaries(NAMES, VALUES),
            "queryParams": st.dictionaries(NAMES, VALUES),
        },
    ),
)
def test_checking_raises_nothing_but_request_rejected_and_a_checked_trigger_stays_as_it_is(shape, value):
    with suppress(RequestRejected):
        checked = check(shape, Trigger.from_value(value))
        assert check(shape, checked) == checked


def test_thirty_two_levels_of_data_reach_the_check():
    raw = b'{"data":' + b"[" * 31 + b"]" * 31 + b"}"
    assert check(SHAPE, Trigger.from_value(read_json(raw))).data
