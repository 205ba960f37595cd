"""The types that are written of a plugin's webhooks: what compiles is what the door takes, in both languages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from relay.declarations.calls import calls_of
from relay.declarations.kinds import ANY, MAX_ALTERNATIVES, NULL, Plain, parts
from relay.declarations.names import TypeNames, note
from relay.declarations.python import python_of
from relay.declarations.schema_kinds import MAX_PARTS, MAX_REFERENCES, SchemaKinds
from relay.declarations.typescript import MODULE_TYPES, typescript_of
from relay.errors import RequestRejected
from relay.registration.shape import Shape
from relay.request.trigger import Trigger, check
from relay.text.ids import ID_PATTERN
from tests.tools import require

ROOT = Path(__file__).parents[2]
HOSTILE = (
    "*/ } evil(); /*", '"""', "'''\\", "a\nb", "a\r\u2028b", "\u202eright to left", "${1}`", "\\u0041\\", "\x00", "</script>",
    "__proto__", "class", "import os", "# type: ignore", "\U0001d4b3", "",
)  # fmt: skip
TEXT = {"type": "string"}


def obj(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required)}


#: A schema, data that fits it, and data that does not: the door says so, and both languages must agree.
SCHEMAS = [
    (None, [{"a": [1, None]}, [1, "a"], "text", None], [1, True]),
    (obj(["city"], city=TEXT, days={"type": "integer"}), [{"city": "P"}, {"city": "P", "days": 1}], [{}, {"city": 1}, None, "P", [{}]]),
    (obj(a={"type": ["string", "null"]}), [{"a": None}, {"a": "x"}, {}], [{"a": 1}]),
    (obj(["k"], k={"enum": ["now", 'th"en', "'", 7, True, None]}), [{"k": 'th"en'}, {"k": 7}, {"k": None}], [{"k": "never"}, {"k": 8}, {}]),
    (obj(k={"const": "x"}), [{"k": "x"}], [{"k": "y"}]),
    (obj(k={"enum": [1.5, "x"]}), [{"k": 1.5}], [{"k": "y"}]),
    (obj(k={"enum": [{"a": 1}, None]}), [{"k": {"a": 1}}, {"k": None}], [{"k": 1}, {"k": "x"}]),
    (obj(k={"enum": [["a"], 2.5]}), [{"k": ["a"]}, {"k": 2.5}], [{"k": {}}, {"k": "x"}]),
    ({"type": "array", "items": TEXT}, [["a"], []], [[1], {}, "a"]),
    ({"type": "array", "prefixItems": [TEXT], "items": {"type": "number"}}, [["a", 1.5]], [["a", {}]]),
    ({"type": "object", "additionalProperties": {"type": "boolean"}}, [{"any": True}], [{"any": 1}]),
    ({"properties": {"a": TEXT}, "additionalProperties": False}, [{"a": "x"}], [{"b": "x"}, {"a": 1}]),
    ({**obj(a=TEXT), "additionalProperties": True}, [{"a": "x", "b": 1}], []),
    ({**obj(a=TEXT), "patternProperties": {"^x-": {}}}, [{"a": "x", "x-b": 1}], []),
    ({**obj(a=TEXT), "unevaluatedProperties": TEXT}, [{"a": "x", "b": "y"}], []),
    ({**obj(a=TEXT), "unevaluatedProperties": False}, [{"a": "x"}], [{"a": "x", "b": "y"}]),
    ({**obj(a=TEXT, b=TEXT), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"a": "x"}, {"b": "x"}, {"a": "x", "b": "x"}], [{}]),
    ({"oneOf": [obj(["a"], a=TEXT), obj(["b"], b={"type": "number"})]}, [{"a": "x"}, {"b": 1}], [{"b": "x"}]),
    (
        {"allOf": [{"$ref": "#/$defs/x"}, obj(q={"type": "integer"})], "$defs": {"x": obj(["p"], p=TEXT)}},
        [{"p": "x", "q": 1}, {"p": "x"}],
        [{"q": 1}, {"p": "x", "q": "1"}],
    ),
    (
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": obj(["kids"], kids={"type": "array", "items": {"$ref": "#/$defs/a~1b"}})}},
        [{"kids": [{"kids": []}]}],
        [{"kids": [{"kids": [{}]}]}, {}],
    ),
    (obj(up={"$ref": "#"}, n={"type": "number"}), [{"up": {"up": {"n": 1}}}], [{"up": {"up": {"n": "1"}}}]),
    ({"anyOf": [TEXT, {"type": "null"}]}, ["x", None], [{}, []]),
    (obj(a={"$ref": "#there"}, b={"$anchor": "there", **TEXT}), [{"a": "x"}], []),
    (obj(HOSTILE[:3], **dict.fromkeys(HOSTILE, TEXT)), [dict.fromkeys(HOSTILE, "x")], [{HOSTILE[0]: "x"}]),
    (obj(a={"enum": [*HOSTILE]}), [{"a": each} for each in HOSTILE], [{"a": "other"}]),
    (obj(a={**TEXT, "description": "".join(HOSTILE)}), [{"a": "x"}], [{"a": 1}]),
    (obj(deep=obj(["x"], x=obj(["y"], y={"type": "array", "items": obj(["z"], z=TEXT)}))), [{"deep": {"x": {"y": [{"z": ""}]}}}], [{"deep": {"x": {"y": [{}]}}}]),
    (False, [], [{"a": 1}, "text", None]),
    ({**obj(k={"$ref": "#/$defs/open"}), "$defs": {"open": {**obj(a=TEXT), "additionalProperties": True}}}, [{"k": {"a": "x", "b": 1}}], [{"k": 1}]),
    ({**obj(k={"$ref": "#/$defs/list"}), "$defs": {"list": {"type": "array", "items": obj(["a"], a=TEXT)}}}, [{"k": [{"a": "x"}]}], [{"k": [{}]}]),
]  # fmt: skip

FILE = {"filename": "a.pdf", "contentType": "application/pdf", "content": "aGk="}
PARTS = obj(["scan"], scan={"type": "object"}, note=TEXT, more={"anyOf": [{"type": "null"}, obj(["a"], a=TEXT)]})
PATH = {"patientId": 4711, "class": "a"}


def shapes():
    yield from (
        Shape(f"schema-{number}", "POST", data_schema=schema, description="".join(HOSTILE))
        for number, (schema, *_) in enumerate(SCHEMAS)
    )
    yield Shape("filled", "GET", ("X-Note", "X-Other"), ("page", "two words", *HOSTILE[:3]))
    yield Shape("bytes", "POST", encoding="base64")
    yield Shape("described-bytes", "POST", encoding="base64", data_schema=TEXT)
    yield Shape("optional-bytes", "POST", encoding="base64", data_schema={"type": ["string", "null"]})
    yield Shape("form", "POST", encoding="form")
    yield Shape("path", "DELETE", path_params={"patientId": "[0-9]+", "class": ".+"})
    yield Shape("described-form", "POST", encoding="form", data_schema=obj(["a"], a=TEXT, n={"type": "integer"}))
    yield Shape("parts", "POST", encoding="multipart")
    yield Shape("described-parts", "POST", encoding="multipart", data_schema=PARTS)
    yield Shape("no-parts", "POST", encoding="multipart", data_schema={"type": "null"})
    yield Shape("2-same_id", "PUT")
    yield Shape("2_same-id", "PUT")
    yield Shape("hidden", "POST", hidden=True)


SHAPES = {shape.webhook_id: shape for shape in shapes()}
#: webhook, data, headers, queryParams, and whether the call fits.
WITHOUT_PATH = [
    *((f"schema-{n}", data, None, None, True) for n, (_, good, _) in enumerate(SCHEMAS) for data in good),
    *((f"schema-{n}", data, None, None, False) for n, (_, _, bad) in enumerate(SCHEMAS) for data in bad),
    ("filled", None, {"X-Note": "hi"}, {"page": 1, "two words": True, HOSTILE[0]: "x"}, True),
    ("filled", {"a": 1}, None, None, False),
    ("filled", None, {"X-Nope": "hi"}, None, False),
    ("filled", None, {"X-Note": 1}, None, False),
    ("filled", None, None, {"pgae": 1}, False),
    ("filled", None, None, {"page": [1]}, False),
    ("bytes", "aGk=", None, None, True),
    ("bytes", {"a": 1}, None, None, False),
    ("bytes", "aGk=", {"X-Note": "hi"}, None, False),
    ("described-bytes", "aGk=", None, None, True),
    ("described-bytes", None, None, None, False),
    ("optional-bytes", None, None, None, True),
    ("form", {"a": 1, "b": "x", "c": True}, None, None, True),
    ("form", {"a": [1]}, None, None, False),
    ("described-form", {"a": "x", "n": 1}, None, None, True),
    ("described-form", {"a": "x", "n": "x"}, None, None, False),
    ("described-form", {"n": 1}, None, None, False),
    ("parts", {"a": 1, "b": "x", "c": FILE}, None, None, True),
    ("parts", None, None, None, True),
    ("parts", {"a": [1]}, None, None, False),
    ("parts", {"a": {**FILE, "content": 1}}, None, None, False),
    ("parts", "text", None, None, False),
    ("described-parts", {"scan": FILE, "note": "x"}, None, None, True),
    ("described-parts", {"note": "x"}, None, None, False),
    ("described-parts", {"scan": "x"}, None, None, False),
    ("described-parts", None, None, None, False),
    ("path", None, None, None, False),
    ("2-same_id", {"a": 1}, None, None, True),
    ("2-same_id", {"a": 1}, None, {"page": 1}, False),
    ("hidden", {"a": 1}, None, None, False),
    ("unknown", {"a": 1}, None, None, False),
]
#: webhook, data, headers, queryParams, pathParams, and whether the call fits.
CALLS = [
    *((*call[:4], None, call[4]) for call in WITHOUT_PATH),
    ("path", None, None, None, PATH, True),
    ("path", None, None, None, {}, False),
    ("path", None, None, None, {"patientId": 4711}, False),
    ("path", None, None, None, {**PATH, "other": 1}, False),
    ("path", None, None, None, {**PATH, "class": None}, False),
    ("path", {"a": 1}, None, None, PATH, False),
    ("filled", None, {"X-Note": "hi"}, None, PATH, False),
    ("filled", None, {"X-Note": "hi"}, None, {}, True),
]


def fits(webhook_id, data, headers, query_params, path_params):
    if webhook_id not in SHAPES or SHAPES[webhook_id].hidden:
        return False
    try:
        check(SHAPES[webhook_id], Trigger(data, headers or {}, query_params or {}, path_params or {}))
    except RequestRejected:
        return False
    return True


def test_the_table_says_what_the_door_says():
    assert [call for call in CALLS if fits(*call[:5]) != call[5]] == []


def test_data_may_be_left_out_where_the_door_takes_none():
    for call in calls_of(SHAPES.values()):
        schema, path = SHAPES[call.webhook_id].data_schema, PATH if call.webhook_id == "path" else {}
        means_an_object = isinstance(schema, dict) and "properties" in schema and "type" not in schema
        is_needed = means_an_object or not fits(call.webhook_id, None, None, None, path)
        assert call.members["data"].required is is_needed, call.webhook_id
        assert call.members["pathParams"].required is bool(path)
        assert not call.members["headers"].required
        assert not call.members["queryParams"].required


VISIT = {
    **obj(
        ["patient", "kind", "other"],
        patient={**TEXT, "description": "The patient's\nname."},
        kind={"enum": ["first", 2, True, "first"]},
        at=obj(["street"], street={**TEXT, "description": "With its number."}, floor={"type": ["integer", "null"]}),
        drugs={"type": "array", "items": {"$ref": "#/$defs/drug", "description": "One of several."}},
        notes={"type": "object", "additionalProperties": TEXT},
        more={**obj(a={"type": "number"}), "additionalProperties": True},
        none={"type": "object", "additionalProperties": False},
        mixed={"type": "array", "prefixItems": [TEXT], "items": {"$ref": "#/$defs/code"}},
        always=True,
    ),
    "$defs": {"drug": obj(["name"], name=TEXT, instead={"$ref": "#/$defs/drug"}), "code": {"type": "integer"}},
}
#: The webhooks of a plugin as its developers read them.
READ = (
    Shape("visit", "POST", ("X-Note",), ("page", "two words"), data_schema=VISIT, description="Books a visit."),
    Shape("look-2", "GET", path_params={"patientId": ".+"}),
    Shape("hidden", "POST", hidden=True),
    Shape("send", "PUT"),
)
TYPESCRIPT = """
type VisitDataDefsCode = number;
type VisitDataDefsDrug = {
  name: string;
  instead?: VisitDataDefsDrug;
};
declare global {
  /** The webhooks of the plugin acme. */
  interface RelayWebhooks {
    /** Books a visit. */
    visit: {
      data: {
        /** The patient's name. */
        patient: string;
        kind: "first" | 2 | true;
        at?: {
          /** With its number. */
          street: string;
          floor?: number | null;
        };
        drugs?: Array<VisitDataDefsDrug>;
        notes?: Record<string, string>;
        more?: {
          a?: number;
          [name: string]: any;
        };
        none?: Record<string, never>;
        mixed?: Array<string | VisitDataDefsCode>;
        always?: any;
        other: any;
      };
      headers?: {
        "X-Note"?: string;
      } | null;
      queryParams?: {
        page?: string | number | boolean;
        "two words"?: string | number | boolean;
      } | null;
      pathParams?: Record<string, never> | null;
    };
    "look-2": {
      data?: null;
      headers?: Record<string, never> | null;
      queryParams?: Record<string, never> | null;
      pathParams: {
        patientId: string | number | boolean;
      };
    };
    send: {
      data?: Data;
      headers?: Record<string, never> | null;
      queryParams?: Record<string, never> | null;
      pathParams?: Record<string, never> | null;
    };
  }
}
"""
PYTHON_TYPES = """
VisitDataDefsCode = int
VisitDataDefsDrug = TypedDict(
    'VisitDataDefsDrug',
    {
        'name': str,
        'instead': NotRequired["VisitDataDefsDrug"],
    },
)
VisitDataAt = TypedDict(
    'VisitDataAt',
    {
        # With its number.
        'street': str,
        'floor': NotRequired[Union[int, None]],
    },
)
VisitData = TypedDict(
    'VisitData',
    {
        # The patient's name.
        'patient': str,
        'kind': Literal['first', 2, True],
        'at': NotRequired[VisitDataAt],
        'drugs': NotRequired[list["VisitDataDefsDrug"]],
        'notes': NotRequired[Mapping[str, str]],
        'more': NotRequired[Mapping[str, Any]],
        'none': NotRequired[Mapping[str, Never]],
        'mixed': NotRequired[list[Union[str, "VisitDataDefsCode"]]],
        'always': NotRequired[Any],
        'other': Any,
    },
)
VisitHeaders = TypedDict(
    'VisitHeaders',
    {
        'X-Note': NotRequired[str],
    },
)
VisitQueryParams = TypedDict(
    'VisitQueryParams',
    {
        'page': NotRequired[Union[str, float, bool]],
        'two words': NotRequired[Union[str, float, bool]],
    },
)
VisitItem = TypedDict('VisitItem', {"webhookId": Literal['visit'], "data": VisitData, "headers": NotRequired[Union[VisitHeaders, None]], "queryParams": NotRequired[Union[VisitQueryParams, None]], "pathParams": NotRequired[Union[Mapping[str, Never], None]], SHARED})
Look2PathParams = TypedDict(
    'Look2PathParams',
    {
        'patientId': Union[str, float, bool],
    },
)
Look2Item = TypedDict('Look2Item', {"webhookId": Literal['look-2'], "data": NotRequired[None], "headers": NotRequired[Union[Mapping[str, Never], None]], "queryParams": NotRequired[Union[Mapping[str, Never], None]], "pathParams": Look2PathParams, SHARED})
SendItem = TypedDict('SendItem', {"webhookId": Literal['send'], "data": NotRequired[Union[str, Mapping[str, Any], list[Any], None]], "headers": NotRequired[Union[Mapping[str, Never], None]], "queryParams": NotRequired[Union[Mapping[str, Never], None]], "pathParams": NotRequired[Union[Mapping[str, Never], None]], SHARED})
""".replace("SHARED", '"subject": NotRequired[str], "idempotencyKey": NotRequired[str], "delay": NotRequired[float]')
NONE = "Union[Mapping[str, Never], None] = None"
OPTIONS = "subject: str | None = None, timeout_s: float | None = None, idempotency_key: str | None = None"
PYTHON_CALLS = f"""
    @overload
    def trigger(self, webhook_id: Literal['visit'], data: VisitData, headers: Union[VisitHeaders, None] = None, query_params: Union[VisitQueryParams, None] = None, *, path_params: {NONE}, {OPTIONS}) -> Result: ...
    @overload
    def trigger(self, webhook_id: Literal['look-2'], data: None = None, headers: {NONE}, query_params: {NONE}, *, path_params: Look2PathParams, {OPTIONS}) -> Result: ...
    @overload
    def trigger(self, webhook_id: Literal['send'], data: Union[str, Mapping[str, Any], list[Any], None] = None, headers: {NONE}, query_params: {NONE}, *, path_params: {NONE}, {OPTIONS}) -> Result: ...
    @overload
    def trigger_async(self, webhook_id: Literal['visit'], data: VisitData, headers: Union[VisitHeaders, None] = None, query_params: Union[VisitQueryParams, None] = None, *, path_params: {NONE}, {OPTIONS}, delay_s: float | None = None) -> Accepted: ...
    @overload
    def trigger_async(self, webhook_id: Literal['look-2'], data: None = None, headers: {NONE}, query_params: {NONE}, *, path_params: Look2PathParams, {OPTIONS}, delay_s: float | None = None) -> Accepted: ...
    @overload
    def trigger_async(self, webhook_id: Literal['send'], data: Union[str, Mapping[str, Any], list[Any], None] = None, headers: {NONE}, query_params: {NONE}, *, path_params: {NONE}, {OPTIONS}, delay_s: float | None = None) -> Accepted: ...
    def trigger_many(self, items: Iterable[VisitItem | Look2Item | SendItem], *, timeout_s: float | None = None) -> list[dict[str, Any]]: ...
"""


def test_typescript_reads_as_a_developer_would_write_it():
    assert typescript_of("acme", calls_of(READ)) == MODULE_TYPES + TYPESCRIPT


def test_python_reads_as_a_developer_would_write_it():
    text = python_of("acme-lab", calls_of(READ))
    assert "\n    from acme_lab_webhooks import webhooks_of\n" in text
    about = '(Protocol):\n    """The client\'s calls, each with what its webhook takes."""'
    asynchronous = PYTHON_CALLS.replace("    def ", "    async def ")
    both = f"\n\nclass Webhooks{about}{PYTHON_CALLS}\n\nclass AsyncWebhooks{about}{asynchronous}"
    assert f"    state: str\n{PYTHON_TYPES}{both}\n\n@overload\ndef webhooks_of(" in text


@pytest.mark.parametrize(
    ("number", "overloads", "items"), [(0, 0, "Never"), (1, 0, "W0Item"), (2, 8, "W0Item | W1Item")]
)
def test_python_has_overloads_where_there_are_several_webhooks(number, overloads, items):
    text = python_of("2x", calls_of([Shape(f"w{n}", "GET") for n in range(number)]))
    assert "\n    from webhooks import webhooks_of\n" in text  # a name with a digit first could not be imported
    assert text.count("    @overload\n") == overloads
    assert text.count("trigger(self, webhook_id: Never) -> Result: ...\n") == 2 * (number == 0)
    assert text.count("trigger_async(self, webhook_id: Never) -> Accepted: ...\n") == 2 * (number == 0)
    assert text.count(f"trigger_many(self, items: Iterable[{items}], *, timeout_s: float | None = None)") == 2


def lines_at_fault(text, pattern):
    return {int(found) for found in re.findall(pattern, text, re.MULTILINE)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "webhooks.d.ts").write_text(typescript_of("acme", calls_of(SHAPES.values())), encoding="utf-8")
    (tmp_path / "acme_webhooks.py").write_text(python_of("acme", calls_of(SHAPES.values())), encoding="utf-8")
    return tmp_path


def tsc(folder, *files):
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext"]
    command = [require("tsc"), *options, "--lib", "es2022,dom,dom.iterable", *files]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)


def test_typescript_accepts_the_calls_that_fit_and_no_others(folder):
    head = 'import { createApi } from "./webhooks.js"; const { webhooks } = createApi({ baseUrl: "", key: "" });'
    options = ["" if call[4] is None else f", {json.dumps({'pathParams': call[4]})}" for call in CALLS]
    calls = [
        f"void webhooks.trigger({', '.join(map(json.dumps, call[:4]))}{more});"
        for call, more in zip(CALLS, options, strict=True)
    ]
    (folder / "use.ts").write_text("\n".join([head, *calls, ""]))
    done = tsc(folder, "use.ts")
    assert lines_at_fault(done.stdout, r"^use\.ts\((\d+),") == {n for n, call in enumerate(CALLS, 2) if not call[5]}
    assert "webhooks.d.ts(" not in done.stdout


def test_the_three_lines_of_the_readme_compile_with_the_types_that_they_name(tmp_path):
    (example,) = re.findall(r"^```ts\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert example.count("\n") == 3
    schema = obj(["patient"], patient={"type": "integer"})
    takes = Shape("notify-clinic", "POST", ("X-Note",), ("page",), data_schema=schema)
    (tmp_path / "webhooks.d.ts").write_text(typescript_of("acme", calls_of([takes])), encoding="utf-8")
    for name, text in {"right": example, "wrong": example.replace("notify-clinic", "notify-clinics")}.items():
        (tmp_path / f"{name}.mts").write_text(text, encoding="utf-8")
    done = tsc(tmp_path, "right.mts", "wrong.mts")
    assert lines_at_fault(done.stdout, r"^wrong\.mts\((\d+),") == {3}
    assert "right.mts" not in done.stdout


def mypy(folder, lines):
    """Return the numbers of the lines that mypy refuses; nothing else may be wrong."""
    (folder / "use.py").write_text("\n".join([*lines, ""]))
    options = ["--strict", "--hide-error-context", "--cache-dir", str(folder / "cache"), "use.py"]
    command = [sys.executable, "-m", "mypy", *options]
    done = subprocess.run(
        command, cwd=folder, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True, timeout=280, check=False
    )
    assert "acme_webhooks.py:" not in done.stdout
    return lines_at_fault(done.stdout, r"^use\.py:(\d+): error")


def test_python_accepts_the_calls_that_fit_and_no_others(folder):
    head = "from relay.client import Relay; from acme_webhooks import webhooks_of; w = webhooks_of(Relay('', ''))"
    named = ["" if call[4] is None else f", path_params={call[4]!a}" for call in CALLS]
    calls = [f"w.trigger({', '.join(map(ascii, call[:4]))}{more})" for call, more in zip(CALLS, named, strict=True)]
    assert mypy(folder, [head, *calls]) == {n for n, call in enumerate(CALLS, 2) if not call[5]}


def test_the_python_module_names_nothing_before_it_is_defined(folder):
    subprocess.run([sys.executable, "acme_webhooks.py"], cwd=folder, check=True, timeout=60)


def test_the_other_calls_know_the_webhooks_too(folder):
    good = [
        'void webhooks.triggerAsync("schema-1", { city: "P" }, null, null, { delay: 3 });',
        'void webhooks.triggerMany([{ webhookId: "schema-1", data: { city: "P" } }, { webhookId: "filled", queryParams: { page: 1 } }]);',
        'export const n = webhooks.trigger<{ t: number }>("schema-1", { city: "P" }).then(({ data }) => data.t.toFixed());',
        'void webhooks.describe("filled");',
        'void webhooks.trigger("parts", new FormData());',
        'void webhooks.trigger("described-parts", { scan: new Blob(), more: new Blob() });',
        'void webhooks.trigger("described-parts", new FormData());',
        'void webhooks.triggerAsync("path", null, {}, {}, { delay: 3, pathParams: { patientId: 1, class: "a" } });',
        'void webhooks.triggerMany([{ webhookId: "path", pathParams: { patientId: 1, class: "a" } }]);',
    ]
    bad = [
        'void webhooks.triggerAsync("schema-1", { city: 1 });',
        'void webhooks.triggerMany([{ webhookId: "schema-1" }]);',
        'void webhooks.triggerMany([{ webhookId: "filled", queryParams: { pgae: 1 } }]);',
        'void webhooks.trigger<{ t: number }>("filled", null, {}, { pgae: 1 });',
        'void webhooks.describe("unknown");',
        'void webhooks.trigger("no-parts", new FormData());',
        'void webhooks.trigger("path");',
        'void webhooks.triggerAsync("path", null, {}, {}, { delay: 3 });',
        'void webhooks.triggerAsync("path", null, {}, {}, { pathParams: { patientId: 1, class: "a" }, dealy: 3 });',
        'void webhooks.triggerMany([{ webhookId: "path" }]);',
    ]
    head = 'import { createApi } from "./webhooks.js"; const { webhooks } = createApi({ baseUrl: "", key: "" });'
    (folder / "use.ts").write_text("\n".join([head, *good, *bad, ""]))
    first = 2 + len(good)
    assert lines_at_fault(tsc(folder, "use.ts").stdout, r"^use\.ts\((\d+),") == set(range(first, first + len(bad)))


def test_python_takes_open_files_as_members_of_data(folder):
    head = "from relay.client import Relay; from acme_webhooks import webhooks_of; w = webhooks_of(Relay('', ''))"
    good = ["w.trigger('parts', {'a': open('a.pdf', 'rb')})"]
    bad = ["w.trigger('parts', {'a': open('a.txt')})"]
    assert mypy(folder, [head, *good, *bad]) == {3}


def test_the_types_have_their_effect_beside_those_of_any_plugin(folder, tmp_path):
    """They may have another name, or lie in another directory, than the module's own types, as where npm installed it."""
    (folder / "webhooks.d.ts").rename(folder / "acme.d.ts")
    (folder / "webhooks.d.ts").write_text((ROOT / "relay" / "declarations" / "webhooks.d.ts").read_text())
    head = 'import { createApi } from "./webhooks.js"; const { webhooks } = createApi({ baseUrl: "", key: "" });'
    (folder / "use.ts").write_text(head + '\nvoid webhooks.trigger("filled");\nvoid webhooks.trigger("unknown");\n')
    assert lines_at_fault(tsc(folder, "use.ts").stdout, r"^use\.ts\((\d+),") == set()
    assert lines_at_fault(tsc(folder, "use.ts", "acme.d.ts").stdout, r"^use\.ts\((\d+),") == {3}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_python_types_run_and_are_right_for_any_number_of_webhooks(tmp_path, number):
    text = python_of("a-b", calls_of([Shape(f"w{n}", "GET") for n in range(number)]))
    for name in ("trigger", "trigger_async", "trigger_many"):
        assert f"    def {name}(" in text
        assert f"    async def {name}(" in text
    (tmp_path / "types_of.py").write_text(text)
    (tmp_path / "use.py").write_text("import types_of\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "use.py"]
    subprocess.run([sys.executable, "types_of.py"], cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run(
        command, cwd=tmp_path, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True, timeout=280, check=False
    )
    assert "types_of.py" not in done.stdout


def test_a_schema_that_grows_without_end_is_declared_as_far_as_it_is_small():
    doubling = {f"a{n}": obj(x={"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2}) for n in range(30)}
    loops = {"loop": {"$ref": "#/$defs/loop"}, "long": {"allOf": [{"$ref": "#/$defs/a0"}]}, "a30": {}}
    product = {"allOf": [{"anyOf": [obj(**{f"p{n}-{m}": TEXT}) for m in range(10)]} for n in range(6)]}
    assert SchemaKinds({"$ref": "#/$defs/loop", "$defs": loops}).whole == ANY
    kinds = SchemaKinds({**obj(p=product), "$ref": "#/$defs/a0", "$defs": doubling | loops})
    assert len(str(kinds.whole)) < 1_000 * MAX_ALTERNATIVES
    many = SchemaKinds({"allOf": [{"anyOf": [True] * 300}] * (MAX_PARTS // 300 + 1)})
    assert many.whole == ANY


def declared(schema):
    """Return how both languages declare a member that has to fit this schema; an object of TypeScript in one line."""
    calls = list(calls_of([Shape("hook", "POST", data_schema=obj(k=schema))]))
    typescript = re.search(r"data: \{\s+k\?: (.*);\n {6}\};", typescript_of("acme", calls), re.DOTALL)[1]
    python = re.search(r"'k': NotRequired\[(.*)\],\n", python_of("acme", calls))[1]
    return " ".join(typescript.split()), python


ANYTHING, NOTHING, INTEGER, NUMBER = True, False, {"type": "integer"}, {"type": "number"}
SOME = {"enum": ["a", 1, True]}


@pytest.mark.parametrize(
    ("one", "other", "typescript", "python"),
    [
        (ANYTHING, TEXT, "string", "str"),
        (NOTHING, TEXT, "never", "Never"),
        (NOTHING, ANYTHING, "never", "Never"),
        (TEXT, TEXT, "string", "str"),
        (TEXT, NUMBER, "never", "Never"),
        (INTEGER, NUMBER, "number", "int"),
        (SOME, TEXT, '"a"', "Literal['a']"),
        (SOME, INTEGER, "1", "Literal[1]"),
        (SOME, NUMBER, "1", "Literal[1]"),
        (SOME, {"type": "boolean"}, "true", "Literal[True]"),
        (SOME, {"type": "null"}, "never", "Never"),
        (SOME, {"type": "array"}, "never", "Never"),
        (SOME, {"enum": ["b", "a", 2]}, '"a"', "Literal['a']"),
        ({"const": 1}, {"const": True}, "never", "Never"),
        ({"const": "a"}, {"const": "b"}, "never", "Never"),
        ({"type": ["string", "integer"]}, {"type": ["integer", "null"]}, "number", "int"),
        ({"type": ["string", "null"]}, TEXT, "string", "str"),
        ({"type": "array", "items": TEXT}, {"items": {"enum": ["a", 1]}}, 'Array<"a">', "list[Literal['a']]"),
        ({"type": "array", "items": TEXT}, TEXT, "never", "Never"),
        ({"type": "object"}, {"type": "object"}, "Record<string, any>", "Mapping[str, Any]"),
        ({"type": "object"}, {"additionalProperties": TEXT}, "Record<string, string>", "Mapping[str, str]"),
        (
            {"additionalProperties": {"type": ["string", "null"]}}, {"additionalProperties": SOME},
            'Record<string, "a">', "Mapping[str, Literal['a']]",
        ),
        (obj(a=TEXT), {"type": "object"}, "{ a?: string; }", "HookDataK"),
        (obj(a=TEXT), {"additionalProperties": TEXT}, "{ a?: string; [name: string]: any; }", "Mapping[str, str]"),
        (obj(["a"], a=TEXT), obj(a=SOME, b=INTEGER), '{ a: "a"; b?: number; }', "HookDataK"),
        (obj(a=TEXT), obj(a={"type": "string", "description": "Said."}), "{ /** Said. */ a?: string; }", "HookDataK"),
        (obj(a=TEXT), {"required": ["a", "b"]}, "{ a: string; b: any; }", "HookDataK"),
    ],
)  # fmt: skip
def test_what_has_to_fit_two_schemas_is_declared_as_what_they_have_in_common(one, other, typescript, python):
    assert declared({"allOf": [one, other]}) == (typescript, python)
    if "Literal" not in python and "{" not in typescript:
        assert declared({"allOf": [other, one]}) == (typescript, python)


@pytest.mark.parametrize(
    ("schema", "typescript", "python"),
    [
        ({}, "any", "Any"),
        ({"enum": [2.5, None, [1], "a", {}]}, '"a" | null | number | Array<any> | Record<string, any>',
         "Union[Literal['a'], None, float, list[Any], Mapping[str, Any]]"),
        ({"const": None, "type": "string"}, "null", "None"),
        ({"items": TEXT, "properties": {"a": TEXT}}, "{ a?: string; } | Array<string>", "Union[HookDataK, list[str]]"),
        ({"prefixItems": [TEXT]}, "Array<any>", "list[Any]"),
        ({"type": "array", "prefixItems": [TEXT], "items": False}, "Array<string>", "list[str]"),
        ({"oneOf": [TEXT, NUMBER], "anyOf": [NUMBER, {"type": "null"}]}, "number", "float"),
        ({"$id": "urn:x", "type": "string"}, "any", "Any"),
        ({"$ref": "#/properties/k/$defs/b/1", "$defs": {"b": [INTEGER, TEXT]}}, "string", "str"),
        ({"$ref": "#/properties/k/$defs/b/2", "$defs": {"b": [INTEGER, TEXT]}}, "any", "Any"),
        ({"$ref": "#/properties/k/$defs/b/x", "$defs": {"b": [INTEGER, TEXT]}}, "any", "Any"),
        ({"$ref": "#/properties/k/$defs/c", "$defs": {"b": TEXT}}, "any", "Any"),
        ({"$ref": "#/properties/k/$defs/b/items", "$defs": {"b": {"$id": "urn:x", "items": TEXT}}}, "any", "Any"),
        ({"$ref": "#/properties/k/$defs/b%20~0~1", "$defs": {"b ~/": TEXT}, "type": "string"}, "string", "str"),
        ({"$ref": "#/properties/k/$defs/b", "$defs": {"b": INTEGER}, "type": "number"}, "number", "int"),
        ({"$ref": "#there", "$defs": {"b": {"$anchor": "there", **TEXT}}, "type": "number"}, "number", "float"),
        ({"$ref": "#/properties/k/$defs/0", "$defs": {"0": TEXT}}, "string", "str"),
        ({**obj(a=NUMBER), "additionalProperties": TEXT}, "{ a?: number; [name: string]: any; }", "Mapping[str, Union[str, float]]"),
        *(
            ({**obj(a=TEXT), **others}, "{ a?: string; [name: string]: any; }", "Mapping[str, Any]")
            for others in ({"unevaluatedProperties": TEXT}, {"patternProperties": {"^x": TEXT}})
        ),
        ({**obj(a=TEXT), "unevaluatedProperties": False}, "{ a?: string; }", "HookDataK"),
        (
            {"allOf": [obj(a={"$ref": "#/properties/k/$defs/b"}), obj(["a"], a=TEXT)], "$defs": {"b": TEXT}},
            "{ a: HookDataPropertiesKDefsB; }", "HookDataK",
        ),
        (
            {"allOf": [obj(a=TEXT), obj(a={"$ref": "#/properties/k/$defs/b"})], "$defs": {"b": TEXT}},
            "{ a?: string; }", "HookDataK",
        ),
    ],
)  # fmt: skip
def test_a_schema_is_declared_by_what_it_says(schema, typescript, python):
    assert declared(schema) == (typescript, python)


BYTES = "string | Blob | ArrayBuffer | ArrayBufferView"
SENT_FILE = "Blob | { filename: string; contentType?: string; content: string }"
LETTER = obj(["scan"], scan={"type": "object"}, note=TEXT, either={"type": ["object", "string"]})
OPEN, SCALAR = "Record<string, any>", "string | number | boolean"


@pytest.mark.parametrize(
    ("encoding", "schema", "typescript"),
    [
        ("json", True, "data?: Data"),
        ("json", TEXT, "data: string"),
        ("json", {"type": ["object", "null"]}, f"data?: {OPEN} | null"),
        ("json", LETTER, f"data: {{ scan: {OPEN}; note?: string; either?: {OPEN} | string; }}"),
        ("form", None, f"data?: string | Record<string, {SCALAR}> | null"),
        ("form", True, f"data?: string | Record<string, {SCALAR}> | null"),
        ("form", {"type": "object", "additionalProperties": NUMBER}, "data: Record<string, number>"),
        ("form", {"type": ["object", "null"]}, f"data?: Record<string, {SCALAR}> | null"),
        ("form", obj(a=NUMBER), "data: { a?: number; }"),
        ("base64", None, f"data?: {BYTES} | null"),
        ("base64", TEXT, f"data: {BYTES}"),
        ("base64", {"type": ["string", "null"]}, f"data?: {BYTES} | null"),
        ("multipart", None, f"data?: Record<string, string | number | {SENT_FILE}> | null | FormData"),
        ("multipart", {"type": "null"}, "data?: null"),
        ("multipart", {"type": ["object", "null"]}, f"data?: Record<string, string | number | {SENT_FILE}> | null | FormData"),
        (
            "multipart", LETTER,
            f"data: {{ scan: {OPEN} | {SENT_FILE}; note?: string; either?: {OPEN} | string | {SENT_FILE}; }} | FormData",
        ),
    ],
)  # fmt: skip
def test_data_is_declared_as_its_encoding_can_send_it(encoding, schema, typescript):
    text = typescript_of("acme", calls_of([Shape("hook", "POST", encoding=encoding, data_schema=schema)]))
    found = re.search(r"\n {6}(data\??: .*?);\n {6}headers", text, re.DOTALL)[1]
    assert " ".join(found.split()) == typescript


@pytest.mark.parametrize("beyond", [0, 1])
def test_so_many_pairs_of_alternatives_are_compared_and_no_more(beyond):
    one, other = ([{"const": n} for n in numbers] for numbers in (range(16 + beyond), range(8, 24)))
    typescript, _ = declared({"allOf": [{"anyOf": one}, {"anyOf": other}]})
    assert typescript == " | ".join(map(str, range(17) if beyond else range(8, 16)))


@pytest.mark.parametrize("beyond", [0, 1])
def test_so_many_references_lead_to_one_another_and_no_more(beyond):
    last = MAX_REFERENCES - 1 + beyond
    chain = {f"a{n}": {"$ref": f"#/properties/k/$defs/a{n + 1}"} for n in range(last)} | {f"a{last}": TEXT}
    typescript, _ = declared({"allOf": [{"$ref": "#/properties/k/$defs/a0"}], "$defs": chain})
    assert typescript == ("any" if beyond else "string")


def test_alternatives_of_alternatives_are_declared_once_each():
    kinds = SchemaKinds({"anyOf": [{"type": ["string", "null"]}, {"type": ["null", "boolean"]}]})
    assert parts(kinds.whole) == (Plain("string"), NULL, Plain("boolean"))


@pytest.mark.parametrize("beyond", [0, 1])
def test_more_alternatives_than_an_editor_shows_are_declared_as_any(beyond):
    whole = SchemaKinds({"anyOf": [{"const": number} for number in range(MAX_ALTERNATIVES + beyond)]}).whole
    assert (whole == ANY) == bool(beyond)


@pytest.mark.parametrize(
    ("others", "rest"), [(True, ["string", "number", "boolean"]), (TEXT, ["string"]), (False, ["never"])]
)
def test_a_form_takes_no_lists_or_objects_as_other_members_whatever_its_schema_says(others, rest):
    shape = Shape("hook", "POST", encoding="form", data_schema={**obj(a=TEXT), "additionalProperties": others})
    (call,) = calls_of([shape])
    assert [each.word for each in parts(call.members["data"].kind.others)] == rest


def test_names_are_identifiers_and_differ():
    names = TypeNames()
    given = [
        names.give(*words) for words in [("a-b", "Data"), ("a_b", "Data"), ("2", "x"), HOSTILE, (), ("x" * 900,)] * 2
    ]
    assert len(set(given)) == len(given)
    assert all(name.isascii() and name.isidentifier() and len(name) < 90 for name in given)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("lab-order", "Item"), "LabOrderItem"), (("2-same_id", "data"), "W2SameIdData"), (("a", "#/$defs/xY"), "ADefsXY"),
        ((), "W"), (("ab-", "\u00e4", "cD"), "AbCD"), (("x" * 90,), "X" + "x" * 79),
    ],
)  # fmt: skip
def test_a_name_is_made_of_its_words_and_numbered_if_there_is_one_already(words, name):
    names = TypeNames()
    assert [names.give(*words) for _ in range(3)] == [name, f"{name}_2", f"{name}_3"]


def test_an_id_needs_no_escape_in_either_language():
    assert not [chr(code) for code in range(0x1_0000) if ID_PATTERN.match(chr(code)) and not chr(code).isalnum()]


@pytest.mark.parametrize(("value", "declared"), [
    *((2**53 - 1, str(2**53 - 1)), (1 - 2**53, str(1 - 2**53)), (2**53, "number"), (-(2**53), "number")),
    *((True, "true"), ("2", '"2"')),
])  # fmt: skip
def test_typescript_names_only_the_integers_that_its_numbers_hold_exactly(value, declared):
    text = typescript_of("acme", calls_of([Shape("hook", "POST", data_schema=obj(k={"const": value}))]))
    assert re.findall(r"\bk\?: (.*);", text) == [declared]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_note_is_one_line_that_ends_no_comment(text):
    said = note(text * 300) or ""
    assert "*/" not in said
    assert said == "" or (said.isprintable() and len(said) <= 200)
