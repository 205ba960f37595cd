"""``relay up --api 2``: two API processes on one port; either may die while the other goes on."""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from relay.up.ports import listeners_on
from tests.e2e.conftest import start_relay, stop_relay
from tests.processes import kill_each
from tests.timing import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes share a port on Linux only")

CALLERS = 24
WAIT_S = 90  # a caller that no notice reaches gets its answer only after this


@pytest.fixture(scope="module")
def two_apis(tmp_path_factory, endpoint):
    """A relay with two API processes, a plugin, and a key of it."""
    process, relay = start_relay(tmp_path_factory.mktemp("two-apis") / "d", "--api", "2")
    try:
        wait_until(lambda: "\nready" in output_of(relay), 90)
        webhooks = {"echo": "/echo", "slow": "/slow/6"}
        at = endpoint.base_url
        relay.apply("shop", [{"id": name, "url": at + path, "method": "POST"} for name, path in webhooks.items()])
        yield relay, relay.create_key("shop")
    finally:
        assert stop_relay(process) == 0


def output_of(relay):
    return (relay.data_dir.parent / f"{relay.data_dir.name}.out").read_text()


def call(relay, key, webhook, **headers):
    """Make a call on a new connection and wait for its result; return the answer."""
    headers |= {"Authorization": f"Bearer {key}", "Prefer": f"wait={WAIT_S}", "Content-Type": "application/json"}
    url = f"{relay.base_url}/v1/webhooks/{webhook}/trigger"
    with urllib.request.urlopen(urllib.request.Request(url, b"{}", headers), timeout=2 * WAIT_S) as response:
        assert response.status == 200
        return json.load(response)


def api_processes(relay):
    """Return the families of the API processes, by the name of their log."""
    families = {}
    for child in psutil.Process(relay.pid).children():
        try:
            if "granian" in " ".join(child.cmdline()):
                families[Path(f"/proc/{child.pid}/fd/1").readlink().stem] = [child, *child.children(recursive=True)]
        except (psutil.Error, OSError):  # the process has just ended
            continue
    return families


def talking(relay):
    """Return the names of the API processes that are connected to a caller now."""
    port = urlsplit(relay.base_url).port
    return {name for name, family in api_processes(relay).items() if any(is_called(each, port) for each in family)}


def is_called(process, port):
    try:
        found = process.net_connections("tcp4")
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port for each in found)


def assert_both_serve(relay, key):
    """Check that callers wait in both processes at once, and each gets its result from the one in which it waits."""
    with ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(call, relay, key, "slow") for _ in range(CALLERS)]
        wait_until(lambda: talking(relay) == {"api", "api2"}, 60)
        answers = [each.result(timeout=WAIT_S * 0.8) for each in calls]
    assert {answer["status"] for answer in answers} == {200}
    assert len({answer["referenceId"] for answer in answers}) == CALLERS


def test_both_serve_on_the_one_port_and_tell_their_own_callers(two_apis):
    relay, key = two_apis
    assert "2 processes share this port" in output_of(relay)
    assert listeners_on(urlsplit(relay.base_url).port) == 2
    assert_both_serve(relay, key)


def test_one_is_killed_the_other_goes_on_and_the_killed_one_returns_alone(two_apis, endpoint):
    relay, key = two_apis
    lost = []

    def call_and_lose():
        try:
            call(relay, key, "slow", **{"Idempotency-Key": "once"})
        except OSError as error:
            lost.append(error)

    wait_until(lambda: not talking(relay), 60)
    before = endpoint.count
    caller = threading.Thread(target=call_and_lose)
    caller.start()
    (name,) = wait_until(lambda: talking(relay), 60)
    families = api_processes(relay)
    (other,) = families.keys() - {name}
    wait_until(lambda: endpoint.count > before, 60)
    kill_each(reversed(families[name]))
    caller.join(WAIT_S)
    assert lost, "the caller's connection outlived the process"
    psutil.wait_procs(families[name], timeout=30)

    repeated = call(relay, key, "slow", **{"Idempotency-Key": "once"})
    assert repeated["status"] == 200
    assert len(endpoint.received(repeated["referenceId"])) == 1
    assert {call(relay, key, "echo")["status"] for _ in range(20)} == {200}

    wait_until(lambda: listeners_on(urlsplit(relay.base_url).port) == 2, 90)
    assert_both_serve(relay, key)
    again = api_processes(relay)
    assert again[other][0] == families[other][0]
    assert again[name][0] != families[name][0]
    assert [each["name"] for each in json.loads((relay.data_dir / "restarts.json").read_bytes())] == [name]
