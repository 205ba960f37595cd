"""Logins to a real Flower: a password is required, and guesses are limited, counted and learn nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter

import pytest
import requests
from flower.urls import handlers

from bench.ports import free_port
from relay.authentication import unkeyed_refusals
from relay.settings import child_environ
from relay.up.processes import flower
from tests.integration.test_flower import AUTH, ROOT, running_flower
from tests.integration.worker_harness import worker_harness
from tests.timing import wait_until
from workers import logins

LIMIT = 8
WRITE_AFTER_S = 0.1


#: Makes Flower's process read the time from a file. It writes its log soon after a minute has passed by that clock.
CLOCKED = """
from pathlib import Path
from types import SimpleNamespace
from relay.authentication import source_address, unkeyed_refusals
from workers import logins
def now_s():
    return float(Path({path!r}).read_text())
source_address.time = unkeyed_refusals.time = SimpleNamespace(time=now_s, monotonic=now_s)
logins._WRITE_AFTER_S = {after_s}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    clock = tmp_path_factory.mktemp("clock") / "now"
    clock.write_text("0")
    prepared = CLOCKED.format(path=str(clock), after_s=WRITE_AFTER_S)
    with (
        worker_harness(tmp_path_factory, RELAY_AUTH_FAILURES=str(LIMIT)) as harness,
        running_flower(harness, prepared=prepared) as shown,
    ):
        shown.environ, shown.log, shown.clock = harness.environ, harness.log, clock
        shown.failures = Counter()  # drops the failures of all tests
        yield shown


@pytest.fixture
def shown(served):
    """Flower, in a minute without failures of other tests."""
    let_minutes_pass(served)
    return served


def let_minutes_pass(shown, count=1):
    later = shown.clock.with_suffix(".new")
    later.write_text(str(float(shown.clock.read_text()) + 60 * count))
    later.replace(shown.clock)  # atomically, because it may be read meanwhile


def attempt(shown, path="/api/workers", *, auth=None, **headers):
    answer = requests.get(shown.url + path, auth=auth, headers=headers, timeout=10)
    if answer.status_code == 429:
        shown.failures["rate_limited"] += 1
    elif answer.status_code == 401 and (auth or headers):
        shown.failures["unauthenticated"] += 1
    return answer


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        *(([f"{name}=u:p"], True) for name in ("--basic-auth", "--basic_auth", "--auth")),
        *((["--port=5555", "--auth=.*@example.com"], True), (["--port=5555"], False), ([], False)),
        *((["--auth_provider=x"], False), (["--authorize=u"], False)),
    ],
)
def test_an_option_that_makes_flower_ask_for_a_login_is_known_by_each_of_its_names(options, asks):
    assert logins.has_login(options) == asks


def test_without_a_password_it_does_not_start(shown):
    process = flower(port=free_port())
    environ = child_environ(shown.environ, without=("RELAY_FLOWER_AUTH",))
    ended = subprocess.run(
        [sys.executable, *process.command[1:]],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "RELAY_FLOWER_AUTH" in ended.stderr


def test_without_the_setting_it_starts_if_an_option_asks_for_a_login(shown):
    process = flower(port=free_port())
    ended = subprocess.run(
        [sys.executable, *process.command[1:], "--basic-auth=user:password", "--help"],
        cwd=ROOT,
        env=child_environ(shown.environ, without=("RELAY_FLOWER_AUTH",)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "flower [OPTIONS]" in ended.stdout


@pytest.mark.parametrize("credentials", ["Basic", "Basic !", "Bearer x", "Basic w6k6eA==", "Basic /w==", "Basic a b c"])
def test_malformed_credentials_are_refused_like_wrong_ones(shown, credentials):
    plain, broken = attempt(shown, "/"), attempt(shown, "/", Authorization=credentials)
    assert broken.status_code == 401
    assert broken.text == plain.text
    assert broken.headers["WWW-Authenticate"] == plain.headers["WWW-Authenticate"]


def test_a_browser_that_asks_without_a_password_first_has_failed_nothing(shown):
    assert {attempt(shown).status_code for _ in range(3 * LIMIT)} == {401}
    assert attempt(shown, auth=AUTH).status_code == 200


def test_nothing_of_calls_or_workers_is_open_without_the_password(shown):
    asked = {path for path, *_ in (spec if isinstance(spec, tuple) else (spec.regex.pattern,) for spec in handlers)}
    paths = {re.sub(r"\(.*\)", "x", path).rstrip("$?") for path in asked - {".*"}}
    assert {"/metrics", "/tasks", "/api/tasks"} <= paths
    answers = {path: attempt(shown, path) for path in paths}
    opened = {path: answer.text for path, answer in answers.items() if answer.status_code not in {401, 404, 405}}
    assert opened.pop("/healthcheck") == "OK"
    assert set(opened) == {"/logout"}
    assert attempt(shown, "/metrics", auth=AUTH).text.startswith("# HELP")


def test_guesses_are_limited_and_beyond_that_no_password_is_looked_at(shown):
    assert attempt(shown, auth=AUTH).status_code == 200
    statuses = [attempt(shown, auth=(AUTH[0], f"guess-{number}")).status_code for number in range(LIMIT + 3)]
    assert statuses == [401] * LIMIT + [429] * 3
    limited = attempt(shown, auth=AUTH)  # even the correct password, so that guesses learn nothing more
    assert (limited.status_code, limited.headers["Content-Type"]) == (429, "text/plain; charset=utf-8")
    assert "wait a minute" in limited.text
    assert 1 <= int(limited.headers["Retry-After"]) <= 60
    assert attempt(shown, auth=AUTH, **{"X-Forwarded-For": "203.0.113.9"}).status_code == 429  # anyone can send that
    assert requests.get(f"{shown.url}/healthcheck", timeout=10).status_code == 200
    let_minutes_pass(shown)
    assert attempt(shown, auth=AUTH).status_code == 200


def test_failures_are_counted_and_written_together(shown):
    """Failures make at most one log line a minute, with counts but nothing of what was tried."""
    assert logins._WRITE_AFTER_S > unkeyed_refusals.PERIOD_S  # otherwise a line would wait for the next failure

    def all_are_told():
        let_minutes_pass(shown)
        assert attempt(shown, auth=(AUTH[0], "guess-again")).status_code == 401
        time.sleep(3 * WRITE_AFTER_S)
        return sum((Counter(line["codes"]) for line in refusals(shown)), Counter()) == shown.failures

    wait_until(all_are_told, 30)  # a line that was already due may have been written just before the last failure
    assert {line["addresses"] for line in refusals(shown)} == {1}
    assert len(refusals(shown)) <= float(shown.clock.read_text()) // 60
    text = shown.log.read_text()
    assert "guess-" not in text
    assert AUTH[1] not in text


def refusals(shown):
    """Return the log lines that report refusals."""
    return [json.loads(line) for line in shown.log.read_text().splitlines() if '"refused_without_key"' in line]
