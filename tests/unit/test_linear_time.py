"""The time to read hostile texts of every shape grows linearly with their length, never as its square."""

import time

import pytest

from relay.errors import MalformedJson, TooLarge
from relay.text import gradual_json
from relay.text.documents import read_document
from relay.text.json_extent import MAX_DEPTH, MAX_VALUES
from relay.text.strict_json import read_json
from tests.linear import assert_linear

# Parts that are repeated to make a hostile text; and texts before and after them.
UNITS = [
    *('"', '\\"', '"\\"', "\\\\", "\\", '""', '"a",', '"a":', '{"a":1},', '{"a":', "[", "]", "{", "}", "[],", "{},"),
    *("[]", "][", "}{", ",", ":", "1", "1,", "1.5e3,", "-", "0", "e9", "null,", "true", "nul", " ", "\n", "\t", "\\n"),
    *("\\u0041", "\\ud83d\\ude00", "\\ud800", "\\u", "\\x", "é", "\U0001f600", "/", "/*", "*/", "//", "'", "`"),
    *("\\'", "\\\n", "\r\n", "\ufeff", "\x00", "a", "_$", "a:1,", "a:1\n", "+1", ".5", "0x1,", "Infinity,", "NaN,"),
]
FRAMES = [
    *(("", ""), ('"', '"'), ("[", "]"), ("[1,", "1]"), ('{"a":', "}"), ('{"a":"', '"}'), ("[" * 33, "]" * 33)),
    *((("[" * 31) + '"', '"' + "]" * 31), ("[" * 33 + '"', ""), ("{a:'", "'}"), ("{a:1 /*", "}"), ("{", ":1}")),
]
OBJECT_TEXT_FRAMES = [("", ""), ("[1,", "1]"), ('{a:"', '"}'), ("{a:'", "'}"), ("{a:1 /*", "}"), ("{", ":1}")]


def each_frame(frames):
    return pytest.mark.parametrize("frame", frames, ids=lambda frame: ascii(frame[0][-8:]))


def made(unit, frame, size):
    before, after = frame
    return before + unit * ((size - len(before) - len(after)) // len(unit)) + after


@pytest.mark.parametrize("few", [0, 1 << 30], ids=["in small steps", "at once"])
@each_frame(FRAMES)
def test_json_of_any_shape_is_read_in_linear_time(frame, few, monkeypatch):
    monkeypatch.setattr(gradual_json, "FEW_VALUES", few)
    for unit in UNITS:
        assert_linear(
            read_json, lambda size, unit=unit: made(unit, frame, size).encode("utf-8", "surrogatepass"), 16_000
        )


@each_frame(OBJECT_TEXT_FRAMES)
def test_a_document_of_any_shape_is_read_in_linear_time(frame):
    for unit in UNITS:
        assert_linear(read_document, lambda size, unit=unit: made(unit, frame, size), 100)


def test_long_names_within_one_another_cost_no_more_than_their_length():
    def nested(size):
        name = "n" * 200
        depth = "".join(f"{{{name}: " for _ in range(20))
        inner = ", ".join(f"a{number}: 1" for number in range(size // 8))
        return f"{depth}{{{inner}}}{'}' * 20}"

    assert_linear(read_document, nested, 1_000)


@pytest.mark.parametrize("unit", ["[],", "{},", '"ab",', "1,", "null,", '{"a":1},', '{"a":{}},', "[[]],"])
def test_what_holds_too_many_values_is_refused_before_it_is_parsed(unit):
    count = 8 * 1024 * 1024 // len(unit)
    body = b'{"data":[' + unit.encode() * count + b"1]}"
    started = time.thread_time()
    with pytest.raises(TooLarge):
        read_json(body)
    assert time.thread_time() - started < 3  # generous: it is a tenth of a second


@pytest.mark.parametrize("unit", ["1,", '"",', "[],"])
def test_just_as_many_values_as_may_be_are_read(unit):
    def body(values):
        return b"[" + unit.encode() * (values - 1) + unit.rstrip(",").encode() + b"]"

    most = (MAX_VALUES - 1) // (2 if unit == "[]," else 1)
    assert len(read_json(body(most))) == most
    with pytest.raises(TooLarge):
        read_json(body(most + 1))


def test_commas_and_brackets_within_texts_are_no_values():
    text = '],[{}\\"\\\\' * 200_000
    assert len(read_json(f'{{"data":"{text}"}}'.encode())["data"]) == 7 * 200_000


@pytest.mark.parametrize("filler", ['"a\\"b"', '"\\\\"', '"["', '"]]]"', "1", '"\\\\\\""', "{}"])
@pytest.mark.parametrize("long", [0, 200_000])
def test_depth_is_counted_outside_of_texts_only(filler, long):
    padding = '"' + "\\\\" * long + '"'
    inner = f"{padding},{filler}" if filler != "{}" else padding
    good = "[" * MAX_DEPTH + inner + "]" * MAX_DEPTH
    read_json(good.encode())
    with pytest.raises(MalformedJson, match="deeper"):
        read_json(f"[{good}]".encode())
