"""Strict JSON at the door, JSON or JavaScript object text in registration documents."""

import json
import time
from contextlib import suppress
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import MAX_FAULTS, DocumentError, MalformedJson, TooLarge
from relay.text import json_extent
from relay.text.documents import MAX_DOCUMENT_BYTES, read_document
from relay.text.json_extent import check_extent
from relay.text.object_text import scan
from relay.text.strict_json import dump_json, read_json

# --- strict JSON


@pytest.mark.parametrize(
    "text",
    ["", " ", "nul", "{", "[1,]", '{"a":1,}', "{'a':1}", "{a:1}", "1 2", "[1]//c", "/*c*/1", "01", "+1", ".5", "1.", "0x1", "NaN",
     "[Infinity]", "-Infinity", "[1e400]", "-1e999", '"a\tb"', '"a\nb"', '"\\x41"', '"\\ud800"', '"\\udc00\\ud800"',
     '{"\\uD800":1}', '["\\\\\\ud800"]', '{"a":1,"a":2}', '{"x":{"a":1,"\\u0061":2}}', "\ufeff{}", "\x00", "1" * 65, "-" + "1" * 65,
     "[" + "1" * 5000 + "]", "\u00a01", "[1]\x0c"],
)  # fmt: skip
def test_what_is_not_strict_json_is_malformed(text):
    with pytest.raises(MalformedJson):
        read_json(text.encode())


@pytest.mark.parametrize(
    "raw",
    [b'"\xff"', b'"\xc0\x80"', b"\xff\xfe{\x00}\x00", '"a"'.encode("utf-16"), b'"\xed\xa0\x80"', b"\xef\xbb\xbf{}"],
)
def test_only_utf_8_without_a_mark_is_read(raw):
    with pytest.raises(MalformedJson):
        read_json(raw)


@pytest.mark.parametrize(
    "text", ["null", " true ", '"\\ud83d\\ude00"', '"\\\\ud800"', "[1e-400]", "-0", "1" * 64, "-" + "9" * 64, "1.5E3", '{"":{}}', '"a\\u0000b"', "\r\n\t[]"]
)  # fmt: skip
def test_strict_json_is_read_as_json(text):
    assert read_json(text.encode()) == json.loads(text)


def test_integers_are_kept_exactly_both_ways():
    digits = "12345678901234567890123456789012345678901234567890123456789012"
    assert dump_json(read_json(f"[{digits}]".encode())) == f"[{digits}]".encode()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "it is empty"),
        (b" \r\n", "it is empty"),
        (b"\xef\xbb\xbf{}", "it begins with a byte order mark"),
        (b"\xef\xbb\xbf", "it begins with a byte order mark"),
        (b"{", "line 1, column 2"),
        (b"[1,\n x]", "line 2, column 2"),
    ],
)
def test_what_is_wrong_with_the_beginning_is_said(raw, said):
    with pytest.raises(MalformedJson) as caught:
        read_json(raw)
    assert caught.value.message == f"The body is not valid JSON: {said}."


def test_a_fault_names_line_and_column_and_quotes_nothing():
    with pytest.raises(MalformedJson) as error:
        read_json(b'{"name": "secret",\n  oops}')
    assert "line 2, column 3" in str(error.value)
    assert "oops" not in str(error.value)


def test_thirty_two_levels_pass_and_one_more_does_not():
    assert read_json(b"[" * 32 + b"]" * 32)
    for deep in (b"[" * 33 + b"]" * 33, b'{"a":' * 33 + b"1" + b"}" * 33, b"[" * 100_000, b'{"a":[' * 50_000):
        with pytest.raises(MalformedJson, match="nested deeper"):
            read_json(deep)
    assert read_json(b"[" * 33 + b"]" * 33, depth=33)


def test_brackets_in_strings_and_beside_one_another_are_no_depth():
    assert read_json(dump_json(["[" * 50, '\\"[{' * 50, [[]] * 100]))


def test_a_hostile_body_costs_no_more_than_its_size():
    for body in (b"[" * 4_000_000, b"[]," * 2_000_000, b'"' * 4_000_000, b"{" + b'"\\"[' * 1_000_000, b"9" * 4_000_000):
        begin = time.perf_counter()
        with pytest.raises((MalformedJson, TooLarge)):
            read_json(body)
        assert time.perf_counter() - begin < 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**64) + 1, 10**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_what_is_dumped_is_read_again_as_it_was(value):
    assert read_json(dump_json(value)) == value


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_random_bytes_raise_nothing_but_malformed_json(raw):
    with suppress(MalformedJson):
        read_json(raw)


@given(st.text('[]{}"\\:,1', max_size=200), st.integers(1, 5))
def test_the_depth_that_is_counted_is_the_depth_that_is_read(text, depth):
    def levels(value):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(levels, inner), default=0)

    try:
        value = read_json(text.encode(), depth=depth)
    except MalformedJson:
        return
    assert levels(value) <= depth


PIECES = st.text('[]{},"\\\\1 ', max_size=60)


# One limit at a time: of a text that is beyond both, the piece decides which is met first.
@pytest.mark.parametrize(("depth", "max_values"), [(2, 100), (100, 5)])
@given(PIECES, st.integers(1, 9))
def test_the_extent_of_a_text_is_the_same_in_pieces_of_any_size(depth, max_values, text, size):
    def extent():
        try:
            return check_extent(text.encode(), depth, max_values)
        except (MalformedJson, TooLarge) as error:
            return type(error)

    whole = extent()
    with mock.patch.object(json_extent, "_PIECE_BYTES", size):
        assert extent() == whole


@pytest.mark.parametrize("inside", ["[" * 40, ",,," * 200_000, '\\"[', "\\\\"])
@pytest.mark.parametrize("before", [0, 1, json_extent._PIECE_BYTES - 3, 2 * json_extent._PIECE_BYTES - 1])
def test_what_stands_in_a_string_counts_for_nothing_wherever_a_piece_ends(inside, before):
    text = f'{" " * before}["{inside}", [1, 2]]'.encode()
    assert check_extent(text, 2, 5) == 5
    with pytest.raises(MalformedJson):
        check_extent(text, 1, 5)
    with pytest.raises(TooLarge):
        check_extent(text, 2, 3)


# --- documents

FIRST = """{
id: "get-randomapi"
url: "https://coviu.com/api/v1/randomApi",
method: "GET",
headers: {},
queryParams: ["pageNum"]
},"""
SECOND = """{
id: "send-jpeg",
url: "https://postman-echo.com/post",
headers: {
"Content-Type": "image/jpeg"
},
payload_encoding: "base64"
}"""
FIRST_VALUE = {
    "id": "get-randomapi",
    "url": "https://coviu.com/api/v1/randomApi",
    "method": "GET",
    "headers": {},
    "queryParams": ["pageNum"],
}
SECOND_VALUE = {
    "id": "send-jpeg",
    "url": "https://postman-echo.com/post",
    "headers": {"Content-Type": "image/jpeg"},
    "payload_encoding": "base64",
}


def values(text):
    return list(read_document(text).values)


def refusal(text):
    with pytest.raises(DocumentError) as error:
        read_document(text)
    assert error.value.faults
    return error.value.faults


def faults(text):
    return [(fault.line, fault.column, fault.pointer) for fault in refusal(text)]


def messages(text):
    return [fault.message for fault in refusal(text)]


def test_the_printed_examples_read_exactly_as_printed():
    assert values(FIRST) == [FIRST_VALUE]
    assert values(FIRST.removesuffix(",")) == [FIRST_VALUE]
    assert values(SECOND) == [SECOND_VALUE]


@pytest.mark.parametrize("text", [f"{FIRST}\n{SECOND}", f"\n\n{FIRST}\n\n\n{SECOND}\n\n", f"{FIRST}{SECOND}", f"[{FIRST}{SECOND},]",
                                  f"{SECOND}\n{FIRST}", f"{FIRST}\n{SECOND}".replace("\n", "\r\n")])  # fmt: skip
def test_both_printed_examples_read_in_one_file(text):
    assert sorted(values(text), key=str) == sorted([FIRST_VALUE, SECOND_VALUE], key=str)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{a:\n1\nb\n:\n2}", [{"a": 1, "b": 2}]),
        ("{a: 1 // , x\nb: 2 /* \n , */ c: 3}", [{"a": 1, "b": 2, "c": 3}]),
        ("{a: '//x, {' \nb: \"/*\\\"\" \n 'c' : '\\'\\n' // end\n}", [{"a": "//x, {", "b": '/*"', "c": "'\n"}]),
        ("{a: {}\nb: []\nc: null\nd: -1.5e3\ne: true\n}", [{"a": {}, "b": [], "c": None, "d": -1500.0, "e": True}]),
        ("{a: [1\n2,\n3\n,4]}", [{"a": [1, 2, 3, 4]}]),
        ("{a: 'x\\\ny'\nb: 1}", [{"a": "xy", "b": 1}]),
        ("{a: '${x}\\u0041'\n\n\nb: \"`\"}", [{"a": "${x}A", "b": "`"}]),
        ("{a: 1}\n{a: 2}\n\n{a: 3},", [{"a": 1}, {"a": 2}, {"a": 3}]),
        ("// nothing\n[{a: 1}, {a: 2},]", [{"a": 1}, {"a": 2}]),
        ("{a: 0x1F, b: .5, c: +1}", [{"a": 31, "b": 0.5, "c": 1}]),
        ("\ufeff{a: 1}", [{"a": 1}]),
        ("{a: '\\ud83d\\ude00', '\\ud83d\\ude00': 1}", [{"a": "\U0001f600", "\U0001f600": 1}]),
        ('{"a": {"b": [1]}}', [{"a": {"b": [1]}}]),
        ("{a\n:\n{\nb\n:\n1\n}\n}", [{"a": {"b": 1}}]),
        ("{\"a'\": 1, 'a': 2}", [{"a'": 1, "a": 2}]),
    ],
)  # fmt: skip
def test_a_line_break_between_members_counts_as_a_comma_and_no_other_one_does(text, expected):
    assert values(text) == expected


def test_a_plugin_config_gives_its_plugin_and_its_webhooks():
    document = read_document('{plugin: "lab", webhooks: [{id: "a"}, {id: "b"}]}')
    assert (document.plugin, document.values) == ("lab", ({"id": "a"}, {"id": "b"}))
    assert document.pointers == ("/webhooks/0", "/webhooks/1")


def test_positions_are_those_of_the_original_text():
    document = read_document(f"\n{FIRST}\n{SECOND}")
    fault = document.fault("/1/headers/Content-Type", "is wrong")
    assert (fault.line, fault.column) == (13, 1)
    nearest = document.fault("/1/method", "is required")
    assert (nearest.line, nearest.column) == (9, 1)
    inner = document.fault("/0/queryParams/0", "is wrong")
    assert (inner.line, inner.column) == (7, 15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{a: 1} {a: 2}", [(1, 8, "/0")]),
        ('{a: "x" b: 1}', [(1, 9, "/a")]),
        ("{a: 1,\nb: 2 c: 3}", [(2, 6, "/b")]),
        ("{id: abc\nmethod: GET}", [(1, 6, "/id"), (2, 9, "/method")]),
        ("{url: https://a.b/c}", [(1, 7, "/url")]),
        ("{a: 'x\n'}", [(1, 5, "/a")]),
        ("{a: `x`}", [(1, 5, "/a")]),
        ("{a: /x/}", [(1, 5, "/a")]),
        ("{a: 1 /* never closed }", [(1, 7, "/a")]),
        ('{a: 1,\n"\\u0061": 2\na: 3}', [(2, 1, "/a"), (3, 1, "/a")]),
        ('{"a": 1, "a": 2}', [(1, 10, "/a")]),
        ("{'a': 1, a: 2}", [(1, 10, "/a")]),
        ("{a: NaN, b: -Infinity, c: 1e999, d: undefined}", [(1, 5, "/a"), (1, 13, "/b"), (1, 27, "/c"), (1, 37, "/d")]),
        *(("{a: " + number + "}", [(1, 5, "/a")]) for number in ("9" * 65, "-" + "9" * 65, "0x" + "f" * 62)),
        ('{"a": "\\ud800"}', [(1, 7, "/a")]),
        ("{a: '\\x4'}", [(1, 5, "/a")]),
        *((f"{{a: {{b: 1\n{name}: 1}}}}", [(2, 1, f"/a/{name}")]) for name in ("Content-Type", "1a", "200", "a.b", "@a", "\\u0062")),
        ("{a: 1}}", [(1, 7, "")]),
        ("\n{a: 1", [(2, 1, "/a")]),
        ("{a: [1}", [(1, 7, "/a/0")]),
        ("[,]", [(1, 2, "")]),
        ("{a: 1,, b: 2}", [(1, 7, "/a")]),
        ("{a: 'x' + 'y'}", [(1, 9, "/a")]),
        ("[]", [(1, 1, "")]),
        ("", [(None, None, "")]),
        ("// only a comment", [(None, None, "")]),
        ("{webhooks: []}", [(1, 2, "/webhooks")]),
        ("{plugin: 5, webhooks: {}, x: 1}", [(1, 27, "/x"), (1, 2, "/plugin"), (1, 13, "/webhooks")]),
    ],
)  # fmt: skip
def test_a_fault_names_line_and_column_of_the_original_text(text, expected):
    assert faults(text) == expected


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    "text",
    ['{id: "a", b: 1}', '{id: "a", b: NaN}', f"\n{FIRST}\n{SECOND}", '[\n{id: "a"\nb: NaN},\n\n {id: "b",, c: 1}]'],
)
def test_a_place_is_the_same_whatever_ends_the_lines_and_marks_the_beginning(text, mark, line_end):
    def places(text):
        try:
            return dict(read_document(text).places)
        except DocumentError as error:
            return [(fault.line, fault.column, fault.pointer) for fault in error.faults]

    assert places(text)
    assert places(mark + text.replace("\n", line_end)) == places(text)


@pytest.mark.parametrize("text", ["{a: 1,\nb-c: 2}", "{a: 1,\nb: 2,\nc-d: 3,\ne: 4}", "{a: 1,\nb: 2\n},\n{c-d: 3\n}"])
def test_a_place_is_the_same_whether_commas_are_written_or_implied(text):
    assert faults(text.replace(",", "")) == faults(text)
    (line, column, pointer) = faults(text)[0]
    assert text.split("\n")[line - 1][column:].startswith("-")
    assert pointer.endswith(("/b-c", "/c-d"))


@pytest.mark.parametrize("value", ["null", "0", "false", "[]", "{}", "5"])
def test_what_is_no_name_of_a_plugin_is_refused_also_if_it_counts_as_false(value):
    (fault,) = refusal(f'{{plugin: {value}, webhooks: [{{id: "a"}}]}}')
    assert (fault.pointer, fault.message) == ("/plugin", "must be a string")


@pytest.mark.parametrize(
    ("text", "pointers"),
    [('{id: "a"}', ("",)), ('[{id: "a"}]', ("/0",)), ('{webhooks: [{id: "a"}]}', ("/webhooks/0",)),
     ('{id: "a"}\n{id: "b"}', ("/0", "/1")), ('[{id: "a"}, {id: "b"}]', ("/0", "/1"))],
)  # fmt: skip
def test_each_webhook_has_the_pointer_to_where_it_stands(text, pointers):
    assert read_document(text).pointers == pointers


def test_of_a_name_given_twice_the_first_is_the_place():
    document = scan("{a: 1,\nb: 2,\na: 3}")
    assert document.places["/0/a"] < document.places["/0/b"]


@pytest.mark.parametrize("most", [MAX_FAULTS - 1, MAX_FAULTS, MAX_FAULTS + 1])
def test_as_many_faults_are_named_as_a_message_has_room_for(most):
    assert len(refusal("[" + "nope, " * most + "]")) == min(most, MAX_FAULTS)


def test_faults_never_quote_the_document():
    for text in ("{a: hunter2}", "{a: 'hunter2\n'}", "{hunter2 1}", "{a: '\\xhunter2'}", "{9hunter2: 1}"):
        assert "hunter2" not in "".join(messages(text))


def test_depth_is_checked_before_the_values_are_read():
    assert values("[" * 32 + "1," + "]" * 32)
    for deep in ("[" * 33 + "1," + "]" * 33, "[" * 100_000, "{a:" * 5_000):
        assert "nested deeper" in messages(deep)[0]


def test_a_document_has_a_largest_size():
    most = MAX_DOCUMENT_BYTES - 1  # characters: one of them takes two bytes
    assert values('{"id": "\u00e9"}'.ljust(most)) == [{"id": "\u00e9"}]
    assert "larger" in messages('{"id": "\u00e9"}'.ljust(most + 1))[0]


def test_half_a_surrogate_pair_is_no_document():
    with pytest.raises(DocumentError) as caught:
        read_document("{a: '\ud800'}")
    assert [(fault.pointer, fault.message) for fault in caught.value.faults] == [("", "is not valid Unicode text")]


SCRIPTISH = st.lists(
    st.sampled_from(["{", "}", "[", "]", ":", ",", "\n", " ", "a", "id", '"x"', "'y'", "1", "-", "//c", "/*", "*/", "\\", '"', "'", "`", "null",
                     "NaN", "0x", "1e9", "\\u0061", "\ufeff", "\u2028", "\x85", "$", "webhooks", "plugin", "\\ud800", "'\\ud800'", "__proto__"]),
    max_size=40,
).map("".join)  # fmt: skip


@given(st.text() | SCRIPTISH)
def test_random_text_raises_nothing_but_document_errors(text):
    with suppress(DocumentError):
        document = read_document(text)
        assert len(document.values) == len(document.pointers) > 0
        dump_json(document.values)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, min_size=1, max_size=3))
def test_every_json_object_is_a_document_that_says_the_same(value):
    if value.keys() & {"plugin", "webhooks"}:
        return
    text = json.dumps(value, indent=1)
    assert values(text) == [value]
    assert values(text + ",") == [value]
