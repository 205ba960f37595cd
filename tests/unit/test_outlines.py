"""The outline of a trigger: names and sizes, never values."""

import json

import pytest

from relay.request.outline import MAX_OUTLINE_DEPTH, MAX_PARTS, outline_of

SECRET = "Jane Doe, 1970-01-01"


def rows(trigger):
    return [(part["pointer"], part["types"], part["count"], part["bytes"]) for part in outline_of(trigger)[0]]


def test_every_place_is_named_with_types_and_sizes_and_items_of_a_list_together():
    trigger = {"data": {"patient": {"name": SECRET}, "n": [1, "a", None, {"x": True}]}, "headers": {"X-Note": SECRET}}
    trigger["pathParams"] = {"id": "7"}
    assert rows(trigger) == [
        ("/data", ["object"], 1, len(json.dumps(trigger["data"], separators=(",", ":")))),
        ("/data/patient", ["object"], 1, len(SECRET) + 11),
        ("/data/patient/name", ["string"], 1, len(SECRET) + 2),
        ("/data/n", ["array"], 1, 23),
        ("/data/n/*", ["number", "string", "null", "object"], 4, 18),
        ("/data/n/*/x", ["boolean"], 1, 4),
        ("/headers", ["object"], 1, len(SECRET) + 13),
        ("/headers/X-Note", ["string"], 1, len(SECRET) + 2),
        ("/pathParams", ["object"], 1, 10),
        ("/pathParams/id", ["string"], 1, 3),
    ]


@pytest.mark.parametrize("value", [SECRET, 1234.5, [SECRET], {"a": [[SECRET]]}, [{"b": SECRET}] * 3, True, None])
def test_no_value_is_in_it(value):
    told = str(outline_of({"data": value}))
    assert SECRET not in told
    assert "1234.5" not in told


def test_what_is_too_much_is_left_out_and_said():
    assert outline_of({"data": dict.fromkeys(map(str, range(MAX_PARTS - 1)))})[1]
    wide, complete = outline_of({"data": dict.fromkeys(map(str, range(MAX_PARTS)))})
    assert (len(wide), complete) == (MAX_PARTS, False)
    many = outline_of({"data": [dict.fromkeys(map(str, range(MAX_PARTS)), 1), {"0": 1, "x": 1}]})[0]
    assert [part["count"] for part in many[:3]] == [1, 2, 2]  # of places that are in it all values count
    deep = value = {}
    for _ in range(MAX_OUTLINE_DEPTH * 2):
        value["a"] = {}
        value = value["a"]
    assert (len(outline_of(deep)[0]), outline_of(deep)[1]) == (MAX_OUTLINE_DEPTH, False)
