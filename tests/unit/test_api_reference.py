import json
import re
from unittest.mock import MagicMock

import falcon.inspect
import jsonschema_rs
import pytest

from api.app import Router, create_app
from api.publication import PAGE_HEADERS, STATIC
from api.reference.document import make_document
from api.reference.page import make_page
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
