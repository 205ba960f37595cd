"""Logins to a real Flower: it asks for a password, and guesses are limited, counted and told nothing."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import requests

from relay.settings import child_environ
from relay.up.processes import flower
from tests.conftest import free_port
from tests.integration.test_flower import AUTH, ROOT, running_flower
from tests.integration.worker_harness import worker_harness

LIMIT = 8


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_AUTH_FAILURES=str(LIMIT)) as harness, running_flower(harness) as shown:
        shown.environ = harness.environ
        shown.log = harness.log
        yield shown


def attempt(shown, path="/api/workers", *, auth=None, **headers):
    return requests.get(shown.url + path, auth=auth, headers=headers, timeout=10)


def wait_for_a_fresh_minute(at_least_s=20):
    """Failures are counted by the minute: what follows must fit into one."""
    left_s = 60 - time.time() % 60
    if left_s < at_least_s:
        time.sleep(left_s + 0.1)


def test_without_a_password_it_does_not_start(shown):
    process = flower(port=free_port())
    environ = child_environ(shown.environ, without=("FLOWER_BASIC_AUTH", "FLOWER_AUTH"))
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
    assert "FLOWER_BASIC_AUTH" in ended.stderr


@pytest.mark.parametrize("credentials", ["Basic", "Basic !", "Bearer x", "Basic w6k6eA==", "Basic /w==", "Basic a b c"])
def test_credentials_that_are_none_are_refused_as_wrong_ones_are(shown, credentials):
    wait_for_a_fresh_minute()
    plain, broken = attempt(shown, "/"), attempt(shown, "/", Authorization=credentials)
    assert broken.status_code in {401, 429}
    if broken.status_code == 401:
        assert broken.text == plain.text
        assert broken.headers["WWW-Authenticate"] == plain.headers["WWW-Authenticate"]


def test_a_browser_that_asks_without_a_password_first_has_failed_nothing(shown):
    time.sleep(60.1 - time.time() % 60)  # a minute without the failures of other tests
    assert {attempt(shown).status_code for _ in range(3 * LIMIT)} == {401}
    assert attempt(shown, auth=AUTH).status_code == 200


def test_guesses_are_limited_and_beyond_that_no_password_is_looked_at(shown):
    time.sleep(60.1 - time.time() % 60)
    assert attempt(shown, auth=AUTH).status_code == 200
    statuses = [attempt(shown, auth=(AUTH[0], f"guess-{number}")).status_code for number in range(LIMIT + 3)]
    assert statuses == [401] * LIMIT + [429] * 3
    limited = attempt(shown, auth=AUTH)  # also the right one: who guesses learns nothing more
    assert limited.status_code == 429
    assert 1 <= int(limited.headers["Retry-After"]) <= 60
    assert attempt(shown, auth=AUTH, **{"X-Forwarded-For": "203.0.113.9"}).status_code == 429  # anybody can say that
    assert requests.get(f"{shown.url}/healthcheck", timeout=10).status_code == 200
    time.sleep(60.1 - time.time() % 60)
    assert attempt(shown, auth=AUTH).status_code == 200


def test_failures_are_counted_and_written_together(shown):
    """After the tests above: one line a minute, with numbers, and no word of what was tried."""
    deadline = time.monotonic() + 90
    while '"refused_without_key"' not in shown.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.5)
    text = shown.log.read_text()
    assert "guess-" not in text
    assert AUTH[1] not in text
    assert text.count('"refused_without_key"') <= 8
