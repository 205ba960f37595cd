"""``relay up`` starts, reports that, keeps its processes alive, finds all data again, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode

import psutil
import pytest
from dotenv import dotenv_values

from bench.ports import free_port
from relay.client import Relay
from relay.up.restarts import read_restarts
from tests.e2e.conftest import RunningRelay, relay_command, start_relay, stop_relay
from tests.processes import command_line, lives
from tests.timing import BUSY_S, wait_until
from tests.tools import require

PROCESSES = ("valkey-server", "granian", "-Q interactive", "-Q bulk,replay", "flower", "relay.echo")
KILLABLE = ("granian", "-Q interactive", "-Q bulk,replay", "flower")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A relay that has run its demo; its output is in ``<data_dir>.out``."""
    process, relay = start_relay(tmp_path_factory.mktemp("up") / "d", "--demo")
    printed = wait_until(lambda: "\nready" in output_of(relay), otherwise="the demo was not shown")
    assert printed
    yield relay
    assert stop_relay(process) == 0


def output_of(relay: RunningRelay) -> str:
    return (relay.data_dir.parent / f"{relay.data_dir.name}.out").read_text()


def children(relay: RunningRelay) -> list[psutil.Process]:
    return [each for each in psutil.Process(relay.pid).children() if lives(each)]


def child(relay: RunningRelay, part: str) -> psutil.Process | None:
    found = [each for each in children(relay) if part in command_line(each)]
    return found[0] if found else None


def successor(relay: RunningRelay, part: str, family: list[psutil.Process]) -> psutil.Process | None:
    """Return the child that replaced a family; the family's orphans are the supervisor's children for a moment."""
    old = {each.pid for each in family}
    found = [each for each in children(relay) if part in command_line(each) and each.pid not in old]
    return found[0] if found else None


def everything_of(relay: RunningRelay) -> list[psutil.Process]:
    """Return all processes with this relay's data directory in their environment, related or not."""
    mark = f"={relay.data_dir}"
    found = []
    for process in psutil.process_iter():
        try:
            ours = any(f"{name}={text}".endswith(mark) for name, text in process.environ().items())
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def runs_apart(process: psutil.Process, pid: int) -> bool:
    """Return whether a process runs and neither has this id nor descends from the process that has it."""
    try:
        return pid not in {process.pid, *(each.pid for each in process.parents())}
    except psutil.NoSuchProcess:  # it, or one of its parents, has just ended
        return lives(process)


def status_of(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_the_demo_triggers_for_real_and_shows_answer_record_and_addresses(demo):
    text = output_of(demo)
    answer, end = json.JSONDecoder().raw_decode(text, text.index("{"))
    record, _ = json.JSONDecoder().raw_decode(text, text.index("{", end))
    assert answer.keys() == {"referenceId", "status", "data", "error"}
    assert (answer["status"], answer["error"], answer["data"]["body"]) == (200, False, {"hello": "world"})
    assert (record["referenceId"], record["state"]) == (answer["referenceId"], "delivered")
    assert "a-secret-that-plugins-never-see" not in text
    assert demo.flower_url in text
    key = (demo.data_dir / "demo.key").read_text().strip()
    (line,) = [line for line in text.splitlines() if key in line]
    assert line == f"Console  {demo.base_url}/console  (sign in with {key})"
    assert text.endswith("\nCtrl-C stops it.\nready\n")


def test_the_curl_line_of_the_demo_works_as_printed(demo):
    require("curl")
    line = next(line for line in output_of(demo).splitlines() if line.startswith("curl "))
    done = subprocess.run(f"{line} --silent --max-time 30", shell=True, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["status"] == 200


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """The process of a ``relay up`` whose demo makes traffic, and its relay."""
    process, relay = start_relay(tmp_path_factory.mktemp("busy") / "d", "--demo", "--traffic")
    try:
        wait_until(lambda: "\nready" in output_of(relay), otherwise="the demo was not shown")
        yield process, relay
    finally:
        if process.poll() is None:
            assert stop_relay(process) == 0


def test_the_demo_s_traffic_calls_its_webhooks_and_some_calls_fail(busy):
    _, relay = busy
    key = (relay.data_dir / "demo.key").read_text().strip()

    def counted():
        request = urllib.request.Request(f"{relay.base_url}/v1/stats", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            buckets = json.load(answer)["buckets"]
        return [sum(bucket[name] for bucket in buckets) for name in ("accepted", "errors")]

    def has_called():
        accepted, errors = counted()
        return accepted >= 20 and errors >= 1

    wait_until(has_called, 120, otherwise="nothing was called, or nothing failed", every_s=0.2)


def test_each_start_finds_everything_again_though_the_one_before_was_killed_or_the_store_divided(busy, endpoint):
    """A stop leaves nothing; processes that a kill leaves end, and do not hinder the next start."""
    process, relay = busy
    relay.apply("shop", [{"id": "echo", "url": f"{endpoint.base_url}/echo", "method": "POST"}])
    key = relay.create_key("shop", ("trigger", "operate"))
    with Relay(relay.base_url, key) as client:
        reference_id = client.webhooks.trigger("echo", {"n": 1})["referenceId"]
    assert everything_of(relay)
    assert stop_relay(process) == 0
    assert everything_of(relay) == []

    process, again = start_relay(relay.data_dir, keeps_settings=True)
    assert_goes_on(again, key, reference_id)
    process.kill()
    process.wait()

    process, again = start_relay(relay.data_dir, keeps_settings=True)
    try:
        assert [each for each in everything_of(again) if runs_apart(each, again.pid)] == []
        assert_goes_on(again, key, reference_id)
    finally:
        assert stop_relay(process) == 0

    divide = [relay_command(), "--data-dir", str(relay.data_dir), "partitions", "divide", "4"]
    wait_until(lambda: subprocess.run(divide, capture_output=True, check=False).returncode == 0, every_s=1)
    assert everything_of(relay) == []
    process, again = start_relay(relay.data_dir, keeps_settings=True)
    try:
        assert "RELAY_PARTITIONS=4" in output_of(again)
        assert_goes_on(again, key, reference_id)
    finally:
        assert stop_relay(process) == 0


def assert_goes_on(relay, key, reference_id):
    """Check that the relay has its settings, knows the earlier call, and accepts another."""
    assert "RELAY_EGRESS_ALLOW=127.0.0.1" in output_of(relay)
    with Relay(relay.base_url, key) as client:
        assert client.get(reference_id)["state"] == "delivered"
        assert client.webhooks.trigger("echo", {"n": 2})["status"] == 200


def test_everything_it_writes_is_for_its_owner_only(demo):
    assert stat.S_IMODE(demo.data_dir.stat().st_mode) == 0o700
    secret = [
        demo.data_dir / name
        for name in ("relay.env", "target.keys", "data.keys", "audit.key", "valkey.conf", "demo.key", "admin.url")
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}


def test_relay_env_has_every_setting_that_it_runs_with(demo):
    written = dotenv_values(demo.data_dir / "relay.env")
    assert written["RELAY_API_URL"] == demo.base_url
    assert re.fullmatch(r"[^:]+:.{16,}", written["RELAY_FLOWER_AUTH"])
    shown = {each["name"]: each["value"] for each in demo.cli("settings") if not each["secret"] and each["value"]}
    assert {name: written[name] for name in shown} == shown


def test_flower_asks_for_the_password_of_relay_env(demo):
    auth = dotenv_values(demo.data_dir / "relay.env")["RELAY_FLOWER_AUTH"]
    wait_until(lambda: status_of(f"{demo.flower_url}/workers") == 401, otherwise="Flower let somebody in")
    assert status_of(f"{demo.flower_url}/workers", Authorization=f"Basic {b64encode(auth.encode()).decode()}") == 200


def test_no_process_holds_a_key_ring_that_it_does_not_need(demo):
    target, data = "RELAY_TARGET_KEYS_FILE", "RELAY_DATA_KEYS_FILE"
    held = {
        part: {
            name
            for process in [child(demo, part), *child(demo, part).children(recursive=True)]
            for name in process.environ()
            if re.search(r"_KEYS?(_FILE)?\Z", name)
        }
        for part in PROCESSES
    }
    assert held.pop("-Q interactive") == held.pop("-Q bulk,replay") == {target, data, "RELAY_AUDIT_KEY"}
    assert held.pop("granian") == {data}
    assert set().union(*held.values()) == set()


def test_the_doctor_finds_nothing_wrong_with_a_running_relay(demo):
    findings = demo.cli("doctor")
    assert not [each for each in findings if each["level"] == "problem"]
    assert {"redis", "workers", "target keys", "registrations", "clock", "back-up"} <= {
        each["check"] for each in findings
    }


def test_a_second_relay_up_on_the_same_directory_is_refused(demo):
    command = [*psutil.Process(demo.pid).cmdline()[:2], "--data-dir", str(demo.data_dir), "up"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "`relay up` already runs" in done.stderr


@pytest.mark.parametrize("part", KILLABLE)
def test_a_killed_process_is_back_within_a_second_and_alone(demo, part):
    old = child(demo, part)
    family = [old, *old.children(recursive=True)]
    killed_s = time.time()
    old.kill()
    new = wait_until(lambda: successor(demo, part, family), 30, otherwise=f"{part} did not return")
    assert new.create_time() - killed_s < 1 + BUSY_S
    assert not [each for each in family if lives(each)]
    wait_until(lambda: status_of(f"{demo.base_url}/readyz") == 200, otherwise="the relay was not ready again")


@pytest.mark.parametrize("gone", ["closed", "full"])
def test_whatever_it_says_to_nobody_it_goes_on_and_restarts_what_dies(tmp_path, gone):
    if gone == "full":
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, output = os.pipe()
        os.close(reader)
    process, relay = start_relay(tmp_path / "d", "--verbose", output=output)
    os.close(output)
    in_the_way = relay.data_dir / "restarts.json.partial"  # nothing can be written, as on a full disk
    in_the_way.mkdir()
    try:
        for part in ("granian", "-Q bulk,replay"):
            old = child(relay, part)
            family = [old, *old.children(recursive=True)]
            old.kill()
            wait_until(lambda: successor(relay, part, family), 30, otherwise=f"{part} did not return")  # noqa: B023
        wait_until(lambda: status_of(f"{relay.base_url}/readyz") == 200, otherwise="the relay was not ready again")
        assert read_restarts(relay.data_dir) == []
        in_the_way.rmdir()
        noted = wait_until(lambda: read_restarts(relay.data_dir), otherwise="no restart was noted")
        assert len(noted) == 2
    finally:
        status = stop_relay(process)
    assert status == 0


def test_the_api_answers_again_when_granian_s_worker_was_killed(demo):
    master = child(demo, "granian")
    family = [master, *master.children()]
    family[1].kill()
    wait_until(lambda: successor(demo, "granian", family), 30, otherwise="the API did not return")
    wait_until(lambda: status_of(f"{demo.base_url}/readyz") == 200, otherwise="the relay was not ready again")


def test_the_embedded_server_comes_back_with_what_it_had(demo):
    before = demo.cli("webhooks", "list", "--plugin", "demo")
    server = child(demo, "valkey-server")
    server.kill()
    wait_until(lambda: successor(demo, "valkey-server", [server]), 30, otherwise="no server")
    wait_until(lambda: status_of(f"{demo.base_url}/readyz") == 200, otherwise="the relay was not ready again")
    assert demo.cli("webhooks", "list", "--plugin", "demo") == before


def test_a_signal_during_the_start_ends_it(tmp_path, demo):
    command = [*psutil.Process(demo.pid).cmdline()[:2], "--data-dir", str(tmp_path / "d"), "up"]
    command += ["--port", str(free_port()), "--flower-port", str(free_port())]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until((tmp_path / "d" / "logs" / "api.log").exists, otherwise="it did not start")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert "ready" not in process.stderr.read()


def test_a_taken_port_is_named(tmp_path, demo):
    command = [*psutil.Process(demo.pid).cmdline()[:2], "--data-dir", str(tmp_path / "d"), "up"]
    done = subprocess.run(
        [*command, "--port", demo.base_url.rsplit(":", 1)[1]],
        capture_output=True, text=True, timeout=30, check=False, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 1
    assert "--port" in done.stderr
