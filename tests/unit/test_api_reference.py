import json
import re
from unittest.mock import MagicMock

import falcon.inspect
import jsonschema_rs
import pytest

from api.app import Router, create_app
from api.bodies import NDJSON
from api.publication import PAGE_HEADERS, STATIC
from api.reference.document import make_document
from api.reference.operation import DocumentedAnswer, Operation, Sample
from api.reference.page import make_page
from api.reference.samples import programs_of
from relay.replay.planning import Replays
from relay.settings import Settings
from relay.traffic import TrafficControl
from tests.architecture.sources import ROOT

DOCUMENT = make_document()
PAGE_FILES = {path.name: path.read_text() for path in (STATIC / "docs").iterdir()}
OPERATIONS = [
    (path, method, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
]
falcon.inspect.register_router(Router)(falcon.inspect.inspect_compiled_router)
SILENT = {"HEAD", "OPTIONS"}  # every GET has a HEAD, every route OPTIONS


def routes():
    settings = Settings.from_environ({"RELAY_REDIS_URL": "redis://127.0.0.1:1/0"})
    own = {"replays": Replays.__new__(Replays), "traffic": TrafficControl.__new__(TrafficControl)}
    app = create_app(settings, MagicMock(**own), waiters=None, act_counts=None, request_log=None)
    for route in falcon.inspect.inspect_routes(app):
        path = re.sub(r"_([a-z])", lambda found: found[1].upper(), route.path)
        if path.startswith(("/console/", "/docs/")):
            continue  # the modules of the pages that `/console` and `/docs` are
        for method in route.methods:
            if method.method not in SILENT and not method.internal:
                yield path, method.method.lower()


def test_every_route_is_in_the_document_and_no_other():
    assert sorted(routes()) == sorted((path, method) for path, method, _ in OPERATIONS)


def resources():
    """Yield path, method and resource of each route that the document describes."""
    settings = Settings.from_environ({"RELAY_REDIS_URL": "redis://127.0.0.1:1/0"})
    own = {"replays": Replays.__new__(Replays), "traffic": TrafficControl.__new__(TrafficControl)}
    app = create_app(settings, MagicMock(**own), waiters=None, act_counts=None, request_log=None)
    for path, method, operation in OPERATIONS:
        sample = re.sub(r"\{\w+\}", "x", path)
        yield path, method, operation, app._router.find(sample)[0]


def test_an_operation_names_the_scopes_and_the_parameters_of_its_route():
    for path, method, operation, resource in resources():
        scopes = {scope for each in operation["security"] for scope in each["key"]}
        assert scopes == set(getattr(resource, "scopes", ())), path
        assert [len(each["key"]) for each in operation["security"]] == [1] * len(scopes)
        named = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
        known = getattr(resource, "query", None) if method == "get" else None
        assert named == ([] if known is None else list(known().fields)), path
        assert all(
            each["description"] and not each.get("required")
            for each in operation["parameters"]
            if each["in"] == "query"
        )


def test_problems_are_described_by_status_and_only_those_of_a_key_need_one():
    for path, _, operation, _ in resources():
        statuses = list(operation["responses"])
        usual = [status for status in statuses if int(status) < 400]
        assert statuses == usual + [each for each in statuses if each == "503" and path == "/readyz"] + sorted(
            each for each in statuses if int(each) >= 400 and (each, path) != ("503", "/readyz")
        )
        assert ({"401", "403"} <= set(statuses)) is bool(operation["security"]), path
        assert {"400", "500", "503"} <= set(statuses), path
        for status in statuses:
            codes = re.findall(r"`(\w+)`: ", operation["responses"][status]["description"])
            assert codes == sorted(codes)


def test_a_body_of_many_is_a_list_or_a_line_of_each():
    (described,) = (each for path, _, each in OPERATIONS if path == "/v1/triggers")
    content = described["requestBody"]["content"]
    item = {"$ref": "#/components/schemas/BulkItem"}
    assert {kind: each["schema"] for kind, each in content.items()} == {
        "application/json": {"type": "array", "items": item},
        NDJSON: item,
    }
    assert described["requestBody"]["required"]


def test_a_pattern_of_the_document_is_that_of_the_relay_for_javascript():
    patterns = re.findall(r'"pattern": "((?:[^"\\\\]|\\\\.)*)"', json.dumps(DOCUMENT))
    assert patterns
    assert not [each for each in patterns if "\\\\Z" in each or not each.startswith("^") or not each.endswith("$")]
    webhook = next(
        each
        for path, _, item in OPERATIONS
        if path == "/v1/invocations"
        for each in item["parameters"]
        if each["name"] == "webhookId"
    )
    for text, fits in (("a-b", True), ("a-b\n", False), ("xa-b!", False)):
        assert jsonschema_rs.is_valid(webhook["schema"], text) is fits


OF_SAMPLE = {
    "get": (Operation(id="a", path="/x/{referenceId}", summary="", about="", answers={200: DocumentedAnswer("")}), {
        "curl": 'curl -sS --fail-with-body "$RELAY_API_URL/x/$REF"',
        "Python": (
            'import os\n\nimport requests\n\nanswer = requests.get(\n    os.environ["RELAY_API_URL"] + '
            'f"/x/{os.environ[\'REF\']}",\n    timeout=90,\n)\nanswer.raise_for_status()\nprint(answer.json())'
        ),
        "JavaScript": (
            "const answer = await fetch(`${process.env.RELAY_API_URL}/x/${process.env.REF}`);\n"
            "if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);\n"
            "console.log(await answer.json());"
        ),
    }),
    "post": (Operation(
        id="b", method="POST", path="/x", summary="", about="", scopes=frozenset({"trigger"}),
        answers={200: DocumentedAnswer("", media_type="text/plain")},
        sample=Sample(query={"a": "b c"}, headers={"Prefer": "wait=1"}, body={"n": "it's"}),
    ), {
        "curl": (
            'curl -sS --fail-with-body "$RELAY_API_URL/x?a=b+c" \\\n  -H "Authorization: Bearer $KEY" \\\n  '
            "-H 'Content-Type: application/json' \\\n  -H 'Prefer: wait=1' \\\n  -d '{\"n\": \"it'\"'\"'s\"}'"
        ),
        "Python": (
            'import os\n\nimport requests\n\nanswer = requests.post(\n    os.environ["RELAY_API_URL"] + "/x?a=b+c",\n'
            '    headers={"Authorization": f"Bearer {os.environ[\'KEY\']}", "Prefer": "wait=1"},\n'
            '    json={\'n\': "it\'s"},\n    timeout=90,\n)\nanswer.raise_for_status()\nprint(answer.text)'
        ),
        "JavaScript": (
            'const answer = await fetch(`${process.env.RELAY_API_URL}/x?a=b+c`, {\n  method: "POST",\n'
            '  headers: { Authorization: `Bearer ${process.env.KEY}`, "Content-Type": "application/json", "Prefer": "wait=1" },\n'
            '  body: JSON.stringify({"n": "it\'s"}),\n});\n'
            "if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);\n"
            "console.log(await answer.text());"
        ),
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_SAMPLE)
def test_an_example_has_all_that_the_call_needs_in_each_language(name):
    operation, programs = OF_SAMPLE[name]
    assert programs_of(operation) == programs


def test_a_post_without_a_body_says_its_method():
    steering = next(each for path, _, each in OPERATIONS if path.endswith("/pause"))
    curl, python, javascript = (each["source"] for each in steering["x-codeSamples"])
    assert " -X POST " in curl
    assert "requests.post(" in python
    assert 'method: "POST"' in javascript


def page_of(**schema):
    """Return the page of a document with one operation and one schema, as lines."""
    operation = {
        "operationId": "look", "tags": ["Things"], "summary": "Look <now>", "description": "See `a<b`.",
        "security": [{"key": ["operate"]}, {"key": ["trigger"]}], "x-codeSamples": [
            {"lang": "sh", "label": "curl", "source": 'curl {"hello": "world"} order border'},
            {"lang": "js", "label": "JavaScript", "source": "a && b"},
        ],
        "parameters": [{"in": "path", "name": "a&b", "description": "Which `one`."}, {"in": "query", "name": "limit"}],
        "requestBody": {"content": {"application/json": {"schema": {"type": "array", "items": {"$ref": "#/c/Thing"}}}}},
        "responses": {"200": {"description": "Seen.", "content": {"application/json": {"schema": {"$ref": "#/c/Thing"}}}}},
    }  # fmt: skip
    other = operation | {"operationId": "open", "tags": ["Others"], "security": [], "summary": "Open", "parameters": []}
    third = operation | {"operationId": "third", "summary": "Third"}
    paths = {"/a/{a}": {"get": operation}, "/b": {"post": other}, "/c": {"get": third}}
    info = {"title": "A & B", "version": "1.2", "description": "About `it`."}
    thing = {"properties": {"m": schema}, "required": ["m"] if schema.get("format") else []}
    return make_page({"info": info, "paths": paths, "components": {"schemas": {"Thing": thing}}})


def test_an_operation_is_on_the_page_with_all_that_is_said_of_it():
    page = page_of(type="string")
    for part in (
        "<title>A &amp; B</title>",
        "<h1>A &amp; B <small>1.2</small></h1>",
        "<p>About <code>it</code>.</p>",
        '<h3><a href="#look">Look &lt;now&gt;</a></h3>',
        '<p class="route"><span class="verb get">GET</span> <code>/a/{a}</code></p>',
        '<p class="route"><span class="verb post">POST</span> <code>/b</code></p>',
        "<p>See <code>a&lt;b</code>.</p>",
        "<p>Needs a key with the scope <code>operate</code> or <code>trigger</code>.</p>",
        "<p>No key is needed.</p>",
        "<tr><td><code>a&amp;b</code></td><td>path</td><td>Which <code>one</code>.</td></tr>",
        "<tr><td><code>limit</code></td><td>query</td><td></td></tr>",
        '<p>Body, <code>application/json</code>: array of <a href="#schema-Thing">Thing</a></p>',
        '<tr><td>200</td><td>Seen.</td><td><a href="#schema-Thing">Thing</a></td></tr>',
        '<tr><th scope="col">parameter</th><th scope="col">in</th><th scope="col">meaning</th></tr>',
        '<tr><th scope="col">status</th><th scope="col">meaning</th><th scope="col">body</th></tr>',
        '<tr><th scope="col">member</th><th scope="col">type</th><th scope="col">presence</th><th scope="col">meaning</th></tr>',
        "<details open><summary>curl</summary>",
        "<details><summary>JavaScript</summary>",
        '<span data-own="data">{&quot;hello&quot;: &quot;world&quot;}</span> <span data-own="webhookId">order</span> border',
        "<code>a &amp;&amp; b</code>",
    ):
        assert part in page
    assert page.count("<p>No key is needed.</p>") == 1
    groups = re.findall(r'<section class="group"><h2>(\w+)</h2>(.*?)</section>', page, re.DOTALL)
    found = {name: re.findall(r'<article id="([\w-]+)">', inner) for name, inner in groups}
    assert found == {"Things": ["look", "third"], "Others": ["open"], "Schemas": ["schema-Thing"]}
    contents = re.findall(r"<section><h2>(\w+)</h2><ul>(.*?)</ul></section>", page)
    assert {name: re.findall(r'href="#([\w-]+)"', inner) for name, inner in contents} == found


@pytest.mark.parametrize(
    ("schema", "cells"),
    [
        ({}, "<td>any JSON</td><td>may be missing</td><td></td>"),
        ({"type": "string"}, "<td>string</td><td>may be missing</td><td></td>"),
        ({"type": "string", "format": "uuid"}, "<td>string (uuid)</td><td></td><td></td>"),
        ({"type": ["string", "null"]}, "<td>string or null</td><td>may be missing</td><td></td>"),
        ({"type": "array", "items": {"type": "integer"}}, "<td>array of integer</td><td>may be missing</td><td></td>"),
        (
            {"anyOf": [{"$ref": "#/c/Thing"}, {"type": "null"}]},
            '<td><a href="#schema-Thing">Thing</a> or null</td><td>may be missing</td><td></td>',
        ),
        (
            {"type": "string", "enum": ["a", "b&"], "description": "One `of`."},
            "<td>string</td><td>may be missing</td><td>One <code>of</code>. <code>a</code> <code>b&amp;</code></td>",
        ),
    ],
    ids=str,
)
def test_a_member_of_a_schema_is_on_the_page_with_its_type_and_whether_it_may_be_missing(schema, cells):
    assert f"<tr><td><code>m</code></td>{cells}</tr>" in page_of(**schema)


def test_every_operation_says_that_it_refuses_parameters_it_does_not_know():
    silent = [
        path
        for path, _, operation in OPERATIONS
        if "`bad_parameter`" not in operation["responses"]["400"]["description"]
    ]
    assert not silent


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_a_schema_is_a_json_schema(name):
    jsonschema_rs.validator_for({**DOCUMENT, "$ref": f"#/components/schemas/{name}"})


#: Members that may be missing, and those that may be null or anything, by schema; all others are always there.
MAY_BE_MISSING = {
    "BulkItem": "data delay headers idempotencyKey pathParams queryParams subject",
    "BulkResult": "problem referenceId state",
    "Chain": "item parent step steps",
    "Document": "components paths",
    "Invocation": "caller chain damaged forgottenAt lateAnswer notBefore reason request",
    "InvocationRow": "caller chain damaged forgottenAt lateAnswer notBefore reason",
    "Lanes": "minutes",
    "Problem": "errors referenceId",
    "Replay": "damaged",
    "ReplayFilter": "outcome since states status subject until webhookId",
    "ReplayRequest": "dryRun filter includeUncertain max planId ratePerSecond referenceIds",
    "Trigger": "data delay headers pathParams queryParams subject",
    "Unready": "errors lanes referenceId warnings workers",
    "Webhook": "pathParams payload",
}
MAY_BE_NULL = {
    "Answer": "data",
    "Attempt": "outcome",
    "Breaker": "openUntil",
    "BulkItem": "data delay headers idempotencyKey pathParams queryParams subject",
    "Group": "outcome status",
    "Invocation": "caller chain expiresAt finishedAt replayOf replayedBy result revision state",
    "InvocationPage": "cursor",
    "InvocationRow": "caller chain expiresAt finishedAt replayOf replayedBy result revision state",
    "Lane": "oldestSeconds workers",
    "LanePending": "bulk interactive replay",
    "Minute": "p50Ms p95Ms p99Ms",
    "Outline": "missing",
    "Ready": "workers",
    "Replay": "caller filter finishedAt matched ratePerSecond state",
    "ReplayPlan": "planId",
    "Result": "data error status",
    "RowResult": "error status",
    "StartedReplay": "matched",
    "Trigger": "data delay headers pathParams queryParams subject",
    "Webhook": "dataSchema description payloadEncoding",
    "WebhookTraffic": "lastErrorAt",
}


def test_a_schema_says_which_members_may_be_missing_and_which_may_be_null():
    missing, null = {}, {}
    for name, each in DOCUMENT["components"]["schemas"].items():
        members = sorted(each["properties"])
        missing[name] = " ".join(member for member in members if member not in each.get("required", ()))
        null[name] = " ".join(
            member
            for member in members
            if jsonschema_rs.is_valid({**DOCUMENT, "$ref": f"#/components/schemas/{name}/properties/{member}"}, None)
        )
    assert {name: members for name, members in missing.items() if members} == MAY_BE_MISSING
    assert {name: members for name, members in null.items() if members} == MAY_BE_NULL


def test_every_member_is_described():
    schemas = DOCUMENT["components"]["schemas"]
    members = [(name, member, said) for name, each in schemas.items() for member, said in each["properties"].items()]
    assert [(name, member) for name, member, said in members if not said.get("description")] == []


def test_what_has_no_schema_of_its_own_is_text():
    for path, _, operation in OPERATIONS:
        answers = operation["responses"].values()
        given = [each for each in operation["parameters"] if each["in"] != "query"]
        headers = [header for answer in answers for header in answer.get("headers", {}).values()]
        bodies = [
            body for answer in answers for kind, body in answer.get("content", {}).items() if not kind.endswith("json")
        ]
        for each in (*given, *headers, *bodies):
            assert each["schema"] == {"type": "string"}, path


def test_only_what_callers_send_has_no_further_members():
    closed = {
        name for name, each in DOCUMENT["components"]["schemas"].items() if not each.get("additionalProperties", True)
    }
    assert closed == {"Trigger", "BulkItem", "ReplayRequest", "ReplayFilter"}


def test_every_reference_leads_somewhere():
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert named == set(DOCUMENT["components"]["schemas"])


def test_every_operation_has_a_name_of_its_own():
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("path", "operation"), [(path, each) for path, _, each in OPERATIONS])
def test_a_path_s_names_are_its_parameters(path, operation):
    named = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
    assert named == re.findall(r"\{(\w+)\}", path)


@pytest.mark.parametrize("operation", [each for *_, each in OPERATIONS], ids=lambda each: each["operationId"])
def test_every_operation_has_an_example_in_three_languages(operation):
    assert [each["label"] for each in operation["x-codeSamples"]] == ["curl", "Python", "JavaScript"]
    compile(operation["x-codeSamples"][1]["source"], "example", "exec")


def test_only_what_needs_no_key_says_so():
    open_to_all = {path for path, _, operation in OPERATIONS if not operation["security"]}
    assert open_to_all == {
        "/healthz",
        "/readyz",
        "/webhooks.js",
        "/webhooks.d.ts",
        "/openapi.json",
        "/",
        "/docs",
        "/console",
    }


def test_every_problem_that_a_caller_can_get_is_in_the_errors_page():
    said = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    codes = {
        (status, code)
        for *_, operation in OPERATIONS
        for status, answer in operation["responses"].items()
        for code in re.findall(r"`(\w+)`: ", answer["description"])
    }
    assert {code for status, code in codes if f"| {status} | `{code}` |" not in said} == set()


def test_the_page_loads_its_own_files_and_has_nothing_inline():
    page = make_page(DOCUMENT)
    loaded = set(re.findall(r'(?:src|href)="([^#"]*)"', page)) - {"console", "openapi.json"}
    assert {name for name in loaded if name.startswith("docs/")} == {f"docs/{name}" for name in PAGE_FILES}
    assert loaded - {f"docs/{name}" for name in PAGE_FILES} == {"console/tokens.css", "console/mark.svg"}
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    policy = PAGE_HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", PAGE_FILES)
def test_a_file_of_the_page_names_no_other_origin_and_makes_no_markup(name):
    text = PAGE_FILES[name]
    assert not re.search(r"//[a-z]|innerHTML|outerHTML|insertAdjacentHTML|\beval\(|localStorage|sessionStorage", text)


def test_the_page_has_every_operation_and_its_links_lead_somewhere():
    page = make_page(DOCUMENT)
    ids = re.findall(r'id="([^"]*)"', page)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)
    assert {operation["operationId"] for *_, operation in OPERATIONS} <= set(ids)
