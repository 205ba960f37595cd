"""JSON read and written in small steps gives the same values, texts and refusals as in one step."""

from __future__ import annotations

import json
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import MalformedJson
from relay.text import gradual_json
from relay.text.strict_json import dump_json, read_json

texts = st.text() | st.sampled_from(["\ud800", '"', "\\", "null"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
in_steps = mock.patch.object(gradual_json, "FEW_VALUES", 0)


def outcome_of(act, *args):
    try:
        return act(*args)
    except (MalformedJson, ValueError, UnicodeEncodeError) as error:
        return str(error)


@given(values)
def test_a_value_is_written_and_read_as_at_once(value):
    with in_steps:
        written = gradual_json.encode(json.JSONEncoder(), value, b"")
        assert gradual_json.loads(written.encode()) == value
    assert written == json.dumps(value)


@given(values)
def test_what_is_written_for_others_is_the_same(value):
    at_once = outcome_of(dump_json, value)
    with in_steps:
        assert outcome_of(dump_json, value) == at_once


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "[1,", "[1,]", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a" 1}', "{1:2}", "nul", "[1 2]", "1 2"),
        *('"a', "-", "[01]", '{"a":1,"a":2}', '[{"a":1,"\\u0061":2}]', "[NaN]", "[1e400]", f"[{'9' * 65}]"),
        *('["\\ud800"]', '"\t"', '["\\x"]'),
    ],
)
def test_invalid_json_is_refused_in_the_same_words(text):
    at_once = outcome_of(read_json, text.encode())
    assert isinstance(at_once, str)
    with in_steps:
        assert outcome_of(read_json, text.encode()) == at_once


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_bytes_are_decoded_as_json_is(encoding):
    assert gradual_json.loads('{"a":"é"}'.encode(encoding)) == {"a": "é"}
