"""``relay up --cluster``: any one process may be killed under load; nothing is lost, and dead processes come back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
import pytest
import redis

from relay.domain.invocation import FINAL
from tests.e2e.conftest import relay_command, start_relay, stop_relay
from tests.processes import kill_each
from tests.timing import wait_until

PLUGINS = ("shop", "desk", "crm", "till", "blog", "bank")
WITHIN_S = 120
STORES = tuple(f"store{number}" for number in range(1, 7))


class ClusterLoad:
    """Sends triggers of several plugins over HTTP, at most fifty a second, until it is stopped."""

    def __init__(self, relay, keys):
        self.accepted: dict[str, tuple[str, str]] = {}  # reference id -> plugin and webhook
        self.refused = Counter()
        self._relay, self._keys = relay, keys
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def accept(self, more=60):
        """Wait until this many more were accepted, with some of every plugin."""
        counts = [len(self.accepted)]
        wait_until(lambda: len(self.accepted) >= counts[0] + more, WITHIN_S)

    def _run(self):
        number = 0
        while not self._stop.wait(0.02):
            number += 1
            plugin, webhook = PLUGINS[number % len(PLUGINS)], ("post", "get")[number // len(PLUGINS) % 2]
            try:
                self.accepted[self._trigger(plugin, webhook)] = plugin, webhook
            except (OSError, urllib.error.HTTPError) as error:
                self.refused[getattr(error, "code", type(error).__name__)] += 1
                time.sleep(0.05)

    def _trigger(self, plugin, webhook):
        headers = {"Authorization": f"Bearer {self._keys[plugin]}", "Content-Type": "application/json"}
        url = f"{self._relay.base_url}/v1/webhooks/{webhook}/trigger"
        asked = urllib.request.Request(url, b"{}", {**headers, "Prefer": "respond-async"})
        with urllib.request.urlopen(asked, timeout=30) as answered:
            return json.load(answered)["referenceId"]


@pytest.fixture(scope="module")
def running():
    """The process of ``relay up --cluster``, and the relay that it started."""
    directory = Path(tempfile.mkdtemp(prefix="rlc"))
    process, relay = start_relay(directory / "d", "--cluster")
    wait_until(lambda: "\nready" in output_of(relay), WITHIN_S)
    yield process, relay
    if process.poll() is None:
        assert stop_relay(process) == 0
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def relay(running):
    return running[1]


@pytest.fixture(scope="module")
def keys(relay, endpoint):
    """An API key of every plugin; each plugin has a repeatable and an unrepeatable webhook."""
    at = f"{endpoint.base_url}/echo"
    hooks = [{"id": "post", "url": at, "method": "POST"}, {"id": "get", "url": at, "method": "GET"}]
    for plugin in PLUGINS:
        relay.apply(plugin, hooks)
    return {plugin: relay.create_key(plugin, ("trigger", "operate")) for plugin in PLUGINS}


def output_of(relay):
    return (relay.data_dir.parent / f"{relay.data_dir.name}.out").read_text()


def server(relay, name):
    """Return a client of one server, with full rights."""
    password = (relay.data_dir / "passwords" / "admin").read_text().strip()
    port = int((relay.data_dir / f"{name}.port").read_text())
    return redis.Redis(port=port, username="admin", password=password, socket_timeout=5)


def replication(relay, name):
    try:
        with server(relay, name) as client:
            return client.info("replication")
    except redis.RedisError:
        return {"role": "away"}


def is_steady(relay):
    """Return whether there are three primaries, each with a replica that follows it."""
    found = [replication(relay, name) for name in STORES]
    primaries = [each for each in found if each["role"] == "master" and each["connected_slaves"] == 1]
    followers = [each for each in found if each["role"] == "slave" and each["master_link_status"] == "up"]
    return len(primaries) == len(followers) == 3


def one_with(relay, role):
    return next(name for name in STORES if replication(relay, name)["role"] == role)


def family_of(relay, log):
    """Return the child whose output goes to this log, with the processes that it started."""
    for child in psutil.Process(relay.pid).children():
        try:
            if Path(f"/proc/{child.pid}/fd/1").readlink().name == f"{log}.log":
                return [child, *child.children(recursive=True)]
        except (psutil.Error, OSError):
            continue
    return []


def kill_and_wait(relay, log):
    """Kill a child with all that it started; return once another child has taken its place."""
    family = family_of(relay, log)
    old = family[0].pid
    kill_each(reversed(family))
    wait_until(lambda: (now := family_of(relay, log)) and now[0].pid != old, WITHIN_S)


def state_of(relay, key, reference_id):
    """Return an invocation's state, as its plugin sees it; `HTTP 404` if the id is unknown."""
    headers = {"Authorization": f"Bearer {key}"}
    asked = urllib.request.Request(f"{relay.base_url}/v1/invocations/{reference_id}", headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answered:
            return json.load(answered)["state"]
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"


def check(relay, keys, endpoint, accepted):
    """Check that all accepted calls are final, delivered ones were received, and unrepeatable ones at most once."""
    ends = {}

    def is_done():
        for ref, (plugin, _) in accepted.items():
            if ends.get(ref) not in FINAL:
                ends[ref] = state_of(relay, keys[plugin], ref)
        assert "HTTP 404" not in ends.values()
        return FINAL.issuperset(ends.values())

    wait_until(is_done, WITHIN_S, every_s=0.2)
    received = Counter(each.headers.get("webhook-id") for each in list(endpoint._received))
    assert [ref for ref, (_, webhook) in accepted.items() if webhook == "post" and received[ref] > 1] == []
    assert [ref for ref, state in ends.items() if state == "delivered" and not received[ref]] == []
    assert Counter(ends.values())["delivered"] > 0.8 * len(accepted)


def test_the_screen_says_that_the_records_are_on_a_cluster(relay):
    ports = [(relay.data_dir / f"{name}.port").read_text().strip() for name in STORES]
    (line,) = [line for line in output_of(relay).splitlines() if line.startswith("Store ")]
    assert line.endswith(", ".join(f"127.0.0.1:{port}" for port in ports))
    assert is_steady(relay)


def test_every_kind_of_process_is_killed_under_load_and_nothing_accepted_is_lost(relay, keys, endpoint):
    with ClusterLoad(relay, keys) as load:
        load.accept()
        for role in ("master", "slave"):
            kill_and_wait(relay, one_with(relay, role))
            load.accept()
            wait_until(lambda: is_steady(relay), WITHIN_S, every_s=0.2)
        for log in ("api", "worker_bulk", "worker_interactive", "valkey", "flower"):
            kill_and_wait(relay, log)
            load.accept()
    assert load.accepted
    check(relay, keys, endpoint, load.accepted)


def test_a_primary_that_stands_still_is_replaced_and_comes_back_as_a_replica(relay, keys, endpoint):
    wait_until(lambda: is_steady(relay), WITHIN_S, every_s=0.2)
    name = one_with(relay, "master")
    frozen = family_of(relay, name)[0]
    with ClusterLoad(relay, keys) as load:
        load.accept()
        os.kill(frozen.pid, signal.SIGSTOP)
        others = [each for each in STORES if each != name]
        roles = lambda: [replication(relay, each)["role"] for each in others]  # noqa: E731
        wait_until(lambda: roles().count("master") == 3, WITHIN_S, every_s=0.2)
        frozen.kill()
        wait_until(lambda: replication(relay, name)["role"] == "slave" and is_steady(relay), WITHIN_S, every_s=0.2)
        load.accept()
    check(relay, keys, endpoint, load.accepted)


def test_the_doctor_looks_at_all_servers_and_names_one_that_is_away(relay):
    wait_until(lambda: is_steady(relay), WITHIN_S, every_s=0.2)
    found = {each["check"]: each for each in doctor(relay)}
    assert found["redis"]["found"].startswith("6 servers: reachable, valkey")
    assert {found[name]["level"] for name in ("redis", "replicas", "append-only file", "clock")} == {"ok"}
    name = one_with(relay, "slave")
    port = (relay.data_dir / f"{name}.port").read_text().strip()
    primary = next(each for each in STORES if replication(relay, each).get("slave0", {}).get("port") == int(port))
    frozen = family_of(relay, name)[0]
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        with server(relay, primary) as client:  # otherwise it would miss its replica only after a minute
            client.client_kill_filter(_type="replica")
        assert replication(relay, primary)["connected_slaves"] == 0
        problems = [each for each in doctor(relay) if each["level"] == "problem"]
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    assert [each["check"] for each in problems if f":{port}" in each["found"]] == ["redis"]
    assert "replicas" in [each["check"] for each in problems]
    wait_until(lambda: is_steady(relay), WITHIN_S, every_s=0.2)


def doctor(relay):
    command = [relay_command(), "--data-dir", str(relay.data_dir), "doctor", "--output", "json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout)


def test_the_next_start_finds_everything_again(running, keys, endpoint):
    process, relay = running
    with ClusterLoad(relay, keys) as load:
        load.accept(12)
    check(relay, keys, endpoint, load.accepted)
    assert stop_relay(process) == 0
    process, again = start_relay(relay.data_dir, "--cluster", keeps_settings=True)
    try:
        check(again, keys, endpoint, load.accepted)
        wait_until(lambda: is_steady(again), WITHIN_S)
    finally:
        assert stop_relay(process) == 0
