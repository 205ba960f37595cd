"""What the API serves for the console: every module of it, safely, and nothing else."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
import requests

from api.publication import published_files
from tests.integration.test_api_triggers import problem

STATIC = Path(__file__).parents[2] / "api" / "static"
OWN = sorted(path for path in (STATIC / "console").rglob("*") if path.is_file())
ROUTES = [route for route, _ in published_files() if route.startswith("/console")]
LOADED = re.compile(r"""(?:from|import|href=|src=)\s*\(?["']([^"']+)["']""")


@pytest.mark.parametrize("route", ROUTES)
def test_every_file_is_served_under_a_policy_that_lets_nothing_else_in(running, route):
    answer = requests.get(running.url + route, timeout=5)
    assert answer.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_a_file_of_the_console_is_short_and_names_no_other_origin(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    foreign = set(re.findall(r"(?:https?:)?//[a-z0-9][\w.-]*\.[a-z]{2,}[^\s\"']*", text)) - {
        "http://www.w3.org/2000/svg"
    }
    assert foreign == set()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert not re.search(r"localStorage|indexedDB|document\.cookie|console\.\w+\(", text)
    assert ("sessionStorage" in text) == (path.name == "session.js"), "the key is kept in one place"


@pytest.mark.parametrize("path", [path for path in OWN if path.suffix in {".js", ".html"}], ids=lambda path: path.name)
def test_what_a_file_of_the_console_loads_is_served(path):
    here = "/" + path.relative_to(STATIC).parent.as_posix() + "/"
    for name in LOADED.findall(path.read_text(encoding="utf-8")):
        if name.startswith("#") or name == "docs" or "${" in name:
            continue
        found = requests.compat.urljoin("/console" if path.suffix == ".html" else here, name)
        assert found in ROUTES, name


def test_the_page_has_nothing_inline():
    page = (STATIC / "console" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


@pytest.mark.parametrize("name", ["/console/", "/console/nothing.js", "/console/../app.py", "/console/%2e%2e/app.py"])
def test_nothing_else_is_served_below_the_console(running, name):
    answer = requests.get(running.url + name, timeout=5)
    problem(answer, 404, "not_found")


def test_what_is_vendored_comes_with_its_licence():
    for directory in (STATIC / "vendor").iterdir():
        assert "Permission is hereby granted" in (directory / "LICENSE").read_text(encoding="utf-8")


def test_a_browser_gets_files_packed_and_is_told_that_it_has_them(running):
    def get(**headers):
        return requests.get(f"{running.url}/console/vendor/uplot/uPlot.esm.js", headers=headers, timeout=5, stream=True)

    packed, plain = get(**{"Accept-Encoding": "br, gzip"}), get(**{"Accept-Encoding": "gzip;q=0"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == "Accept-Encoding"
    whole = (STATIC / "vendor" / "uplot" / "uPlot.esm.js").read_bytes()
    assert gzip.decompress(packed.raw.read()) == whole
    assert "Content-Encoding" not in plain.headers
    assert plain.raw.read() == whole
    tag, other = packed.headers["ETag"], '"0123"'
    for tags in (tag, f"W/{tag}", f"{tag}, {other}", f"{other}, {tag}", f"{other},W/{other} , W/{tag}", "*"):
        again = get(**{"If-None-Match": tags})
        assert (again.status_code, again.content) == (304, b""), tags
    assert get(**{"If-None-Match": f"{other}, W/{other}"}).raw.read(decode_content=True) == whole
    for offers, coding in (
        ("deflate;q=0, gzip", "gzip"),
        ("br, gzip ; q=0", None),
        ("gzip;q=0.5, br", "gzip"),
        ("br", None),
    ):
        assert get(**{"Accept-Encoding": offers}).headers.get("Content-Encoding") == coding, offers
    assert packed.headers["Cache-Control"] == "no-cache"


def test_the_relay_s_own_pages_may_use_any_key(running):
    host = running.url.removeprefix("http://")
    body = {"filter": {}, "dryRun": True}
    for origin in (running.url, f"https://{host}"):  # a proxy may have ended TLS
        answer = running.call("POST", "/v1/replays", key=running.operator_key, json=body, headers={"Origin": origin})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "origin", ["null", "http://127.0.0.1", "http://127.0.0.1:1", "file://{host}", "http://{host}.evil.test"]
)
def test_another_origin_is_not_taken_for_the_relay_s_own(running, origin):
    given = origin.format(host=running.url.removeprefix("http://"))
    answer = running.call("GET", "/v1/invocations", key=running.operator_key, headers={"Origin": given})
    problem(answer, 403, "forbidden")
