"""By which names the API is reached, and whose pages count as its own."""

from __future__ import annotations

import pytest
import requests

from relay.errors import SettingsError
from relay.settings import Settings
from tests.conftest import own_valkey
from tests.integration.api_harness import environ_for, running_api

HOSTILE = (
    "evil.example.com",
    "relay.example.com.evil.com",
    "127.0.0.1.evil.com",
    "localhost.evil.com",
    "xn--e-ufa.com",
    "0x7f.1",
)


@pytest.fixture(scope="module")
def server():
    with own_valkey() as server:
        yield server


@pytest.fixture(scope="module")
def environ(server):
    return environ_for(f"redis://127.0.0.1:{server.port}/0", RELAY_API_URL="http://console.example.com:8000")


@pytest.fixture(scope="module")
def usual(environ):
    with running_api(environ, threads=32) as api:
        yield api


@pytest.fixture(scope="module")
def named(environ, usual):
    with running_api(environ, threads=32, RELAY_PUBLIC_HOSTS="Relay.example.com, [::1]") as api:
        yield api


def ask(api, path, host, origin=None, key=None):
    headers = {"Host": host, **({"Origin": origin} if origin else {}), "Authorization": f"Bearer {key}"}
    return requests.get(api.url + path, headers=headers, timeout=20)


@pytest.mark.parametrize("host", HOSTILE)
@pytest.mark.parametrize("port", ["", ":8000"])
def test_a_page_whose_own_name_resolves_to_the_api_is_a_foreign_page(usual, host, port):
    answer = ask(usual, "/v1/invocations", host + port, f"http://{host}{port}", usual.operator_key)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9", "localhost", "[::1]:9", "console.example.com", "Console.Example.com:443"]
)
def test_the_relay_s_own_pages_may_ask_by_addresses_and_by_the_name_of_its_settings(usual, host):
    answer = ask(usual, "/v1/invocations", host, f"https://{host}", usual.operator_key)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/console", "/v1/invocations", "/v1/nothing", "/webhooks.js", "/openapi.json", "/metrics", "/docs"]
)
def test_only_names_that_are_listed_are_answered(named, path):
    for host in (*HOSTILE, "127.0.0.1", "localhost", "relay.example.org"):
        answer = ask(named, path, host, key=named.operator_key)
        assert (answer.status_code, answer.json()["code"]) == (421, "misdirected_request"), host
        assert "RELAY_PUBLIC_HOSTS" in answer.json()["detail"]
    for host in (
        "relay.example.com",
        "RELAY.example.com:8443",
        "relay.example.com.",
        "[::1]:8000",
        "console.example.com",
    ):
        assert ask(named, path, host, key=named.operator_key).status_code != 421, host


def test_probes_are_answered_by_any_name(named):
    for path in ("/healthz", "/readyz"):
        assert ask(named, path, "10.1.2.3:8000").status_code in {200, 503}


@pytest.mark.parametrize(
    "path", ["/", "/console", "/docs", "/webhooks.js", "/v1/invocations", "/v1/nothing", "/healthz", "/nowhere"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "BREW"])
def test_no_answer_may_be_taken_for_another_type(usual, path, method):
    for key in (usual.operator_key, "none"):
        headers = {"Authorization": f"Bearer {key}", "Origin": "https://app.example.com"}
        answer = requests.request(method, usual.url + path, headers=headers, timeout=20, allow_redirects=False)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "text", ["relay.example.com:8000", "https://relay.example.com", "*.example.com", "a b", "-x.com"]
)
def test_a_list_that_names_no_hosts_is_refused(text):

    with pytest.raises(SettingsError, match="RELAY_PUBLIC_HOSTS"):
        Settings.from_environ({"RELAY_REDIS_URL": "redis://127.0.0.1/0", "RELAY_PUBLIC_HOSTS": text})
