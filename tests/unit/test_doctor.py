"""The doctor finds each possible fault, and advises what to do about it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import socket
import time
from contextlib import nullcontext
from importlib import metadata
from types import SimpleNamespace
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis

import relay.store.health.workers
from bench.ports import free_port
from relay.accept.intake import TriggerRequest
from relay.audit.checkpoint import NOTHING, Breach, Checkpoint, Signed
from relay.audit.entry import AuditEntry
from relay.audit.signing_keys import AuditSigner, new_private_text
from relay.audit.verifying import EDITED, LOST
from relay.doctor import Level, examination, examine
from relay.doctor.audit_trail import LAG_MS, judged_trails
from relay.doctor.calls import _breakers, examine_lanes
from relay.doctor.egress import examine_ingress
from relay.doctor.finding import listed
from relay.doctor.installation import LATELY_S, OFTEN
from relay.doctor.servers import examine_servers
from relay.domain.invocation import Outcome, OwnCaller, State
from relay.domain.reference_id import new_reference_id
from relay.errors import RequestRejected, StoreFault, Unavailable
from relay.queue import LANES
from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.store.backups.epoch import Epochs, Phase
from relay.store.counts.backlog import LaneBacklog
from relay.store.health import readiness
from relay.store.health import server as server_module
from relay.store.health.readiness import (
    Probe,
    ServerWarnings,
    StoreHealth,
    _warnings_of,
    failed_writes,
    probe,
    read_health,
)
from relay.store.health.server import ServerHealth, read_server
from relay.store.health.workers import LiveWorker, Workers
from relay.store.keys import keyspace
from relay.store.keys.names import partition_root
from relay.store.ledger.listing import Filter
from relay.store.ledger.policies import Traffic
from relay.store.ledger.transitions import Settlement
from relay.store.replays.runs import Request
from relay.store.scripting.library import library
from relay.store.scripting.loading import load_functions
from relay.store.server.clock import ClockJump
from relay.store.trail.trail import Trail, TrailEnd
from relay.store.trail.writer import AuditWriter
from relay.up.datadir import DataDir
from relay.up.restarts import RestartLog
from relay.upkeep.checkpointing import Checkpointing
from relay.vault import Vault
from relay.wiring.runtime import cli_runtime
from tests.store_keys import KEYS
from tests.timing import ANSWER_S
from tests.unit.cli import Cli

VAULT = Vault.from_text(Vault.new_key_text())

WEBHOOK = '{id: "echo", url: "https://hooks.vendor.com/x", method: "POST"}'


@pytest.fixture
def given(valkey, monkeypatch):
    """Environment variables for a relay on an empty server with an append-only file.

    A worker counts for longer than usual after its heartbeat: each write of the doctor waits for the disk.
    """
    monkeypatch.setattr(relay.store.health.workers, "SILENCE_MS", 50_000)
    with valkey.client() as client:
        client.config_set("appendonly", "yes")
        client.config_set("appendfsync", "always")
        client.config_set("maxmemory-policy", "noeviction")
    load_functions(valkey.url)
    yield {
        "RELAY_REDIS_URL": valkey.url,
        "RELAY_TARGET_KEYS": Vault.new_key_text(),
        "RELAY_DATA_KEYS": Vault.new_key_text(),
    }
    with valkey.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "no")


def findings(given, data_dir):
    settings = Settings.from_environ(given)
    return {each.check: each for each in examine(data_dir, settings, cli_runtime(settings))}


WELL_SAID = {
    "data directory": "readable by its owner only",
    "back-up": "the keys are in target.keys and data.keys",
    "descriptors": "a process may need 2048",
    "way in": "only this machine reaches the API (RELAY_API_URL)",
    "way out": "no proxy: workers connect to endpoints themselves",
    "append-only file": "on, appendfsync always",
    "server users": "may do more than needed: default",
    "functions": library().name,
    "eviction": "maxmemory-policy noeviction",
    "format": "not known",
    "workers": "none is alive",
    **{f"lane {lane}": "0 workers, 0 waiting" for lane in LANES},
    "registrations": "0 open",
    "endpoints": "the guard refuses none of their names",
    "breakers": "all are closed",
    "failing": "no webhook failed half of its calls in the last 5 minutes",
    "callbacks": "none failed",
    "keys": "0 live",
    "audit trail": "entries are written but not signed",
}
OF_THE_DISK = ("disk", "inodes")  # how full it is, and whether it has inodes


def test_a_server_as_it_should_be_gives_no_problem_but_the_missing_workers(given, tmp_path):
    with_relay_env(tmp_path)
    for name in ("target.keys", "data.keys"):
        (tmp_path / name).touch(mode=0o600)
    tmp_path.chmod(0o700)
    found = {check: each for check, each in findings(given, tmp_path).items() if check not in OF_THE_DISK}
    problems = [check for check, each in found.items() if each.level is Level.PROBLEM]
    assert problems == ["workers", "lane interactive", "lane bulk", "lane replay"]
    assert found["append-only file"].level is Level.OK
    assert [check for check in found if not check.startswith("version of ")] == [
        *("data directory", "back-up", "descriptors", "way in", "way out", "redis", "append-only file"),
        *("server users", "functions", "eviction", "connections", "clock", "format", *problems),
        *("target keys", "data keys", "registrations", "endpoints", "breakers", "failing", "alerts", "callbacks"),
        *("keys", "audit trail"),
    ]
    assert {check: found[check].found for check in WELL_SAID} == WELL_SAID
    assert {check for check, each in found.items() if bool(each.advice) is (each.level is Level.OK)} == set()


def test_a_worker_counts_while_its_heartbeat_is_fresh_and_for_the_lanes_that_it_serves(given, tmp_path, valkey):
    with valkey.client() as client:
        workers = Workers(client)
        workers.beat("interactive1@here", ["interactive"])
        workers.beat("bulk1@there", ["bulk", "replay"])
        client.zincrby(keyspace.shared("workers"), -60_000, "bulk1@there")
    found = findings(given, tmp_path)
    assert found["workers"].found == "interactive1@here"
    assert [found[f"lane {lane}"].level for lane in LANES] == [Level.OK, Level.PROBLEM, Level.PROBLEM]


@pytest.mark.parametrize(
    ("check", "name", "value", "level"),
    [
        ("append-only file", "appendonly", "no", Level.PROBLEM),
        ("append-only file", "appendfsync", "no", Level.PROBLEM),
        ("append-only file", "appendfsync", "everysec", Level.NOTE),
        ("eviction", "maxmemory-policy", "allkeys-lru", Level.PROBLEM),
    ],
)
def test_a_server_that_may_lose_records_is_found(given, tmp_path, valkey, check, name, value, level):
    with valkey.client() as client:
        client.config_set(name, value)
    finding = findings(given, tmp_path)[check]
    assert (finding.level, bool(finding.advice)) == (level, True)


def test_a_server_that_cannot_be_reached_is_the_problem_and_the_rest_is_still_looked_at(given, tmp_path):
    found = findings({**given, "RELAY_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"}, tmp_path)
    assert found["redis"].level is Level.PROBLEM
    assert found["target keys"].level is Level.OK
    assert "hunter2" not in str(found)


def test_where_servers_answer_but_hold_nothing_that_can_be_read_their_contents_are_not_looked_at(
    given, tmp_path, monkeypatch
):
    def silent(*_):
        raise Unavailable("Nothing of the store answers.")

    monkeypatch.setattr("relay.store.health.readiness._rest", silent)
    found = findings(given, tmp_path)
    assert list(found)[-3:] == ["store", "target keys", "data keys"]
    assert (found["store"].level, found["store"].found) == (Level.PROBLEM, "Nothing of the store answers.")
    assert found["redis"].level is Level.OK


def test_a_registration_that_does_not_open_is_named(given, tmp_path):
    runtime = cli_runtime(Settings.from_environ(given))
    runtime.registry.apply(*read_registrations(WEBHOOK, runtime.rules, plugin="shop"))
    assert findings(given, tmp_path)["registrations"].found == "1 open"
    other = findings({**given, "RELAY_TARGET_KEYS": Vault.new_key_text()}, tmp_path)["registrations"]
    assert (other.level, other.found) == (Level.PROBLEM, "0 open, 1 do not: shop/echo")


@pytest.mark.parametrize("text", ["", "k1:dG9vIHNob3J0"])
def test_a_key_ring_that_is_missing_or_malformed_is_named(given, tmp_path, text):
    found = findings({**given, "RELAY_DATA_KEYS": text}, tmp_path)["data keys"]
    assert found.level is Level.PROBLEM
    assert "RELAY_DATA_KEYS" in found.advice


@pytest.mark.parametrize("loose", [0o644, 0o640, 0o604, 0o620, 0o610])
def test_files_that_others_may_read_are_named(given, tmp_path, loose):
    for name, mode in (("relay.env", 0o600), ("target.keys", loose), ("data.keys", 0o600)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    tmp_path.chmod(0o700)
    found = findings(given, tmp_path)["data directory"]
    assert (found.level, found.found) == (Level.PROBLEM, "readable by others: target.keys")


def test_the_key_rings_are_said_to_be_where_they_are(given, tmp_path):
    with_relay_env(tmp_path)
    assert findings(given, tmp_path)["back-up"].found == "the keys are in the environment"
    DataDir(tmp_path).write_environ(given)
    assert findings(given, tmp_path)["back-up"].found == "the keys are in relay.env"
    (tmp_path / "data.keys").touch(mode=0o600)
    assert findings(given, tmp_path)["back-up"].found == "the keys are in relay.env and data.keys"
    own = tmp_path / "own"
    DataDir(tmp_path).write("own", given["RELAY_TARGET_KEYS"])
    elsewhere = {**given, "RELAY_TARGET_KEYS": "", "RELAY_TARGET_KEYS_FILE": str(own)}
    assert findings(elsewhere, tmp_path)["back-up"].found == f"the keys are in {own} and data.keys"


def test_a_misspelled_setting_is_named(given, tmp_path, monkeypatch):
    monkeypatch.setenv("RELAY_MAX_WAITER", "1")
    assert "RELAY_MAX_WAITER" in findings(given, tmp_path)["settings"].found


def test_a_library_below_its_floor_is_named(given, tmp_path, monkeypatch):
    exactly = tuple(map(int, re.findall(r"\d+", metadata.version("click"))[:3]))
    floors = {"celery": (99, 1), "redis": (1, 0), "click": exactly, "no-such-library": (1,)}
    monkeypatch.setattr(examination, "VERSION_FLOORS", floors)
    found = {check: each for check, each in findings(given, tmp_path).items() if check.startswith("version of ")}
    version = {name: metadata.version(name) for name in ("celery", "redis", "click")}
    assert {
        check.removeprefix("version of "): (each.level, each.found, each.advice) for check, each in found.items()
    } == {
        "celery": (Level.PROBLEM, version["celery"], "Install celery 99.1 or newer."),
        "redis": (Level.OK, version["redis"], ""),
        "click": (Level.OK, version["click"], ""),
        "no-such-library": (Level.PROBLEM, "not installed", "Install no-such-library."),
    }


def register(given, document, plugin="shop"):
    runtime = cli_runtime(Settings.from_environ(given))
    runtime.registry.apply(*read_registrations(document, runtime.rules, plugin=plugin))
    return runtime


ALLOWED = {
    "address": ('"https://10.1.2.3/x"', {"RELAY_EGRESS_ALLOW": "10.1.2.3"}),
    "plain http": ('"http://intern.vendor.com/x"', {"RELAY_EGRESS_ALLOW": "intern.vendor.com"}),
    "port": ('"https://hooks.vendor.com:8443/x"', {"RELAY_EGRESS_PORTS": "8443"}),
    "suffix": ('"https://hooks.vendor.lan/x"', {"RELAY_EXTRA_SUFFIXES": "lan"}),
}


@pytest.mark.parametrize("why", ALLOWED)
def test_an_endpoint_that_is_refused_since_an_exception_is_gone_is_named_by_its_webhook(given, tmp_path, why):
    url, exception = ALLOWED[why]
    register({**given, **exception}, f'{{id: "order", url: {url}, method: "POST"}}')
    assert findings({**given, **exception}, tmp_path)["endpoints"].level is Level.OK
    finding = findings(given, tmp_path)["endpoints"]
    assert (finding.level, "shop/order" in finding.found) == (Level.PROBLEM, True)
    assert "10.1.2.3" not in str(finding)
    assert "vendor" not in str(finding)


@pytest.mark.parametrize(("deny", "level"), [
    ("hooks.vendor.com", Level.PROBLEM), ("hooks.vendor.com:443", Level.PROBLEM), ("hooks.vendor.com:444", Level.OK),
    ("other.vendor.com", Level.OK),
])  # fmt: skip
def test_an_endpoint_that_is_on_the_list_of_what_is_never_called_is_named(given, tmp_path, deny, level):
    register(given, WEBHOOK)
    assert findings({**given, "RELAY_EGRESS_DENY": deny}, tmp_path)["endpoints"].level is level


@pytest.mark.parametrize(("deny", "level"), [("login.vendor.com", Level.PROBLEM), ("login.vendor.org", Level.OK)])
def test_an_address_of_tokens_that_is_never_called_is_named_too(given, tmp_path, deny, level):
    auth = {
        "type": "oauth2",
        "tokenUrl": "https://login.vendor.com/t",
        "clientId": "c",
        "clientSecret": "planted-secret",
    }
    register(given, json.dumps({"id": "echo", "url": "https://hooks.vendor.com/x", "method": "POST", "auth": auth}))
    found = findings({**given, "RELAY_EGRESS_DENY": deny}, tmp_path)["endpoints"]
    assert (found.level, "shop/echo" in found.found) == (level, level is Level.PROBLEM)


def test_webhooks_whose_calls_wait_are_named_with_how_many(given, tmp_path):
    runtime = register(given, WEBHOOK + "\n" + WEBHOOK.replace("echo", "idle"))
    for webhook_id in ("echo", "idle"):
        runtime.policies.pause("shop", webhook_id)
    calls = [TriggerRequest("shop", "echo", {}, new_reference_id(), "k1") for _ in range(3)]
    refs = [answer.reference_id for answer in runtime.dispatcher.trigger_many(calls)]
    assert "paused" not in findings(given, tmp_path)
    runtime.store.claim(refs, "t1")
    finding = findings(given, tmp_path)["paused"]
    assert (finding.level, finding.found) == (Level.NOTE, "calls wait: shop/echo (3)")
    runtime.client.hdel(KEYS.webhooks("shop"), "echo")  # deleted as no command would do it
    found = findings(given, tmp_path)
    assert (found["removed"].level, "shop/echo (3)" in found["removed"].found) == (Level.PROBLEM, True)
    assert "paused" not in found


def test_webhooks_are_named_in_the_order_of_their_names(given, tmp_path):
    names = ["e", "b", "d", "a", "c", "f"]
    runtime = register(given, "\n".join(WEBHOOK.replace("echo", name) for name in names))
    for name in names:
        runtime.policies.pause("shop", name)
        ref = new_reference_id()
        runtime.dispatcher.trigger_many([TriggerRequest("shop", name, {}, ref, "k1")])
        runtime.store.claim([ref], "t1")
    assert (
        findings(given, tmp_path)["paused"].found == f"calls wait: {listed([f'shop/{n} (1)' for n in sorted(names)])}"
    )


def test_each_lane_tells_what_waits_in_it_and_for_how_long(given, tmp_path):
    runtime = register(given, WEBHOOK)
    runtime.workers.beat("w1", LANES)
    now_ms = time.time_ns() // 1_000_000
    for age_s, awaited in ((120, True), (1_000, False), (20, False)):
        reference_id = new_reference_id()
        runtime.dispatcher.trigger(TriggerRequest("shop", "echo", {}, reference_id, "k1", awaited=awaited))
        runtime.client.hset(KEYS.record(reference_id), "createdAt", now_ms - age_s * 1000)
    found = findings(given, tmp_path)
    assert re.fullmatch(r"1 worker, 1 waiting, the oldest for 12\d s", found["lane interactive"].found)
    assert re.fullmatch(r"1 worker, 2 waiting, the oldest for 100\d s", found["lane bulk"].found)
    assert found["lane replay"].found == "1 worker, 0 waiting"
    assert [found[f"lane {lane}"].level for lane in LANES] == [Level.OK, Level.NOTE, Level.OK]


def with_relay_env(directory):
    (directory / "relay.env").write_text("")
    (directory / "relay.env").chmod(0o600)


@pytest.mark.parametrize(
    ("free", "kept", "level"),
    [
        (2 << 30, 0, Level.OK), ((1 << 30) - 1, 0, Level.NOTE), (256 << 20, 0, Level.NOTE),
        ((256 << 20) - 1, 0, Level.PROBLEM), (2 << 30, 3 << 30, Level.PROBLEM), (4 << 30, 3 << 30, Level.OK),
    ],
)  # fmt: skip
def test_a_disk_without_room_is_told_of_before_it_is_full(given, tmp_path, monkeypatch, free, kept, level):
    with_relay_env(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 50, 0, free))
    if kept:
        folder = tmp_path / "valkey" / "appendonlydir"
        folder.mkdir(parents=True)
        for number in range(2):
            with (folder / f"{number}.aof").open("wb") as file:
                file.truncate(kept // 2)
    assert findings(given, tmp_path)["disk"].level is level


def test_what_the_supervisor_restarted_is_told_and_a_process_that_keeps_ending_is_a_problem(given, tmp_path):
    with_relay_env(tmp_path)
    assert "restarts" not in findings(given, tmp_path)
    log = RestartLog(DataDir.make(tmp_path))
    assert findings(given, tmp_path)["restarts"].level is Level.OK
    for count in range(1, OFTEN + 1):
        log.note("worker_bulk", 71)
        finding = findings(given, tmp_path)["restarts"]
        assert f"worker_bulk {'once' if count == 1 else f'{count} times'}, last" in finding.found
        assert "exit status 71" in finding.found
        assert finding.level is (Level.PROBLEM if count == OFTEN else Level.NOTE)


def test_a_jump_of_the_servers_clock_is_told_for_an_hour(given, tmp_path, valkey):
    with valkey.client() as client:
        Workers(client).note_jump(ClockJump(1_795_000_000_000, 61_000))
        assert "+61.0 s" in findings(given, tmp_path)["clock jump"].found
        assert any("clock jumped" in warning for warning in ServerWarnings(client).now())
        assert 0 < client.pttl(keyspace.shared("clock_jump")) <= 3_600_000


@pytest.mark.parametrize("name", ["rdb_last_bgsave_status", "aof_last_bgrewrite_status"])
def test_a_write_of_the_server_that_failed_is_told(given, tmp_path, name, monkeypatch):
    info = redis.Redis.info
    monkeypatch.setattr(redis.Redis, "info", lambda self, *a: {**info(self, *a), name: "err"})
    assert findings(given, tmp_path)["append-only file"].level is Level.PROBLEM
    assert list(failed_writes({name: "err"}))


WELL_INFO = {"aof_enabled": 1, "maxmemory_policy": "noeviction"}
WARNINGS = {
    "The append-only file is off": {"aof_enabled": 0, "aof_last_write_status": "err"},
    "The last write to the append-only file failed": {"aof_last_write_status": "err"},
    "The eviction policy is not noeviction": {"maxmemory_policy": "allkeys-lru"},
    "The server's last snapshot failed": {"rdb_last_bgsave_status": "err"},
    "The server's last rewrite of the append-only file failed": {"aof_last_bgrewrite_status": "err"},
}


@pytest.mark.parametrize("sentence", WARNINGS)
def test_each_thing_that_may_be_wrong_with_a_server_has_a_warning_of_its_own(sentence):
    assert list(_warnings_of(WELL_INFO)) == []
    (warning,) = _warnings_of({**WELL_INFO, **WARNINGS[sentence]})
    assert warning.startswith(sentence)


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (redis.ResponseError("unknown command 'INFO', with args beginning with: 'persistence'"), ()),
        (redis.exceptions.NoPermissionError("this user has no permissions to run the 'info' command"), ()),
        (redis.ConnectionError("refused"), None),
    ],
)
def test_a_server_that_forbids_to_look_at_its_settings_has_no_warnings_of_them(valkey, monkeypatch, refusal, outcome):
    def refuse(*_):
        raise refusal

    monkeypatch.setattr(redis.Redis, "info", refuse)
    with valkey.client() as client, nullcontext() if outcome == () else pytest.raises(Unavailable):
        assert ServerWarnings(client).now() == outcome
        Workers(client).note_jump(ClockJump(1_795_000_000_000, 61_000))
        assert "clock jumped" in ServerWarnings(client).now()[0]


def test_warnings_are_read_again_after_ten_seconds(valkey, monkeypatch):
    now_s, looks = [0.0], []
    monkeypatch.setattr(readiness, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    monkeypatch.setattr(ServerWarnings, "_look", lambda _: looks.append(now_s[0]) or [f"look {len(looks)}"])
    with valkey.client() as client:
        warnings = ServerWarnings(client)
        told = []
        for now_s[0] in (0.0, 9.9, 10.0, 19.9, 20.1):
            told += warnings.now()
    assert (looks, told) == ([0.0, 10.0, 20.1], ["look 1", "look 1", "look 2", "look 2", "look 3"])


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, Probe.READY),
        (redis.BusyLoadingError(), Probe.LOADING),
        (redis.AuthenticationError(), Probe.AWAY),
        (redis.ConnectionError(), Probe.AWAY),
        (RuntimeError(), Probe.AWAY),
    ],
)
def test_a_server_can_be_used_once_it_answers_and_has_loaded_its_data(valkey, monkeypatch, error, state):
    def answer(_):
        if error is not None:
            raise error

    monkeypatch.setattr(redis.Redis, "ping", answer)
    assert probe(valkey.url) is state


def test_each_of_several_servers_is_waited_for_more_briefly_than_a_single_one(cluster_node, monkeypatch):
    make, waited_s = readiness.client_of, []

    def noting(url, *, socket_timeout, socket_connect_timeout, retry):
        assert (socket_timeout, retry.get_retries()) == (socket_connect_timeout, 0)
        waited_s.append(socket_timeout)
        return make(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S, retry=retry)

    monkeypatch.setattr(readiness, "client_of", noting)
    read_health(cluster_node.tcp_url)
    assert waited_s == [3.0] * 3
    waited_s.clear()
    port = urlsplit(cluster_node.tcp_url).port
    read_health(f"redis+cluster://127.0.0.1:{port},127.0.0.1:{free_port()}")
    assert waited_s == [3.0, *[0.75] * 4]
    waited_s.clear()
    probe(cluster_node.tcp_url)
    assert waited_s == [0.75]


def test_how_far_the_server_s_clock_is_off_is_taken_from_the_quickest_answer(valkey, monkeypatch):
    here_s = iter([10.0, 10.4, 20.0, 20.1, 30.0, 30.3])
    monkeypatch.setattr(server_module, "time", SimpleNamespace(time=lambda: next(here_s)))
    server_ms = iter([99_000, 23_050, 99_000])
    monkeypatch.setattr(server_module, "time_ms_of", lambda _: next(server_ms))
    with valkey.client() as client:
        assert read_server("s", client, client).skew_ms == pytest.approx(3_000)


def test_a_server_tells_what_it_is_and_has(valkey):
    with valkey.client() as client:
        info = client.info()
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", 1 << 30)
        try:
            found = read_server("s", client, client)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 0)
    version = tuple(int(part) for part in info["valkey_version"].split("."))
    assert (found.name, found.software, found.version) == ("s", "valkey", version)
    assert (found.eviction, found.maximum_bytes, found.replicas) == ("allkeys-lru", 1 << 30, 0)
    assert (found.append_only, found.append_only_healthy, found.failed_writes) == (False, True, ())
    assert found.used_bytes > 100_000
    assert abs(found.skew_ms) < 1_000
    assert 1 <= found.connections < found.most_connections == info["maxclients"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (redis.AuthenticationError("planted"), "Redis refuses the password of RELAY_REDIS_URL."),
        (redis.BusyLoadingError("planted"), "Redis is still loading its data."),
        (redis.TimeoutError("planted"), "Redis did not answer in time."),
        (redis.ConnectionError("planted"), "Redis cannot be reached, or refuses to answer."),
        (Unavailable("The server is being restored."), "The server is being restored."),
    ],
)
def test_why_a_server_cannot_be_asked_is_told_without_its_address(valkey, monkeypatch, error, sentence):
    def fail(*_):
        raise error

    monkeypatch.setattr(redis.Redis, "info", fail)
    with pytest.raises(Unavailable) as caught:
        read_health(valkey.url)
    assert (caught.value.message, caught.value.__suppress_context__) == (sentence, True)


@pytest.mark.parametrize(
    ("told", "software", "version"),
    [
        ({"valkey_version": "8.1.0-rc1", "redis_version": "7.2.4"}, "valkey", (8, 1)),
        ({"redis_version": "7.4.2"}, "redis", (7, 4, 2)),
        ({"redis_version": "255.255.255"}, "redis", (255, 255, 255)),
    ],
)
def test_a_server_s_version_is_that_of_its_own_software(valkey, monkeypatch, told, software, version):
    monkeypatch.setattr(redis.Redis, "info", lambda *_: told)
    with valkey.client() as client:
        found = read_server("s", client, client)
    assert (found.software, found.version) == (software, version)
    assert (found.append_only, found.append_only_healthy, found.eviction, found.replicas) == (False, True, None, 0)
    assert (found.used_bytes, found.maximum_bytes, found.connections, found.most_connections) == (0, 0, 0, None)


@pytest.mark.parametrize(("role", "replicas"), [("master", 2), ("slave", None)])
def test_only_a_primary_is_asked_how_many_replicas_it_has(valkey, monkeypatch, role, replicas):
    info = redis.Redis.info
    monkeypatch.setattr(redis.Redis, "info", lambda self, *a: {**info(self, *a), "role": role, "connected_slaves": 2})
    with valkey.client() as client:
        assert read_server("s", client, client).replicas == replicas


def test_a_server_of_a_cluster_counts_once_by_whatever_name_and_one_that_only_the_address_names_is_away(cluster_node):
    port, gone = urlsplit(cluster_node.tcp_url).port, free_port()
    health = read_health(f"redis+cluster://localhost:{port},127.0.0.1:{port},127.0.0.1:{gone}")
    assert len(health.servers) == 1
    assert health.away == (f"127.0.0.1:{gone}",)
    assert len(read_health(f"redis+cluster://127.0.0.1:{port}").servers) == 1


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_what_only_an_administrator_may_read_is_read_of_the_same_server_with_the_administrator_s_address(
    cluster_node, scheme
):
    place = f"127.0.0.1:{urlsplit(cluster_node.tcp_url).port}"
    users = {"app": ("nopass", "-config"), "boss": (">secret", "+config")}
    with cluster_node.client() as client:
        for name, rules in users.items():
            client.execute_command("ACL SETUSER", name, "reset", "on", "~*", "&*", "+@all", *rules)
    try:
        url = f"{scheme}://app:any@{place}"
        for admin_url, fsync in ((None, None), (f"{scheme}://boss:secret@{place}", "everysec")):
            (server,) = read_health(url, admin_url).servers
            assert (server.fsync, server.name) == (fsync, "the server" if scheme == "redis" else place)
    finally:
        with cluster_node.client() as client:
            client.acl_deluser(*users)


def test_the_users_that_may_too_much_are_those_who_can_log_in_and_are_not_the_administrator(valkey):
    own = ["+@read", "+info", "+time", "+fcall", "+function|list", "+acl|whoami", "allkeys"]
    users = {"app": ["on", *own], "loose": ["on", "+@all"], "locked": ["off", "+@all"], "shy": ["on", "+flushall"]}
    with valkey.client() as administrator:
        try:
            for name, rights in users.items():
                administrator.execute_command("ACL SETUSER", name, "nopass", *rights)
            app = redis.Redis.from_url(valkey.url, username="app", password="any", socket_timeout=ANSWER_S)
            assert set(read_server("s", app, administrator).unrestricted) == {"loose", "shy"}
            app.close()
            administrator.acl_deluser("loose", "shy")
            assert read_server("s", administrator, administrator).unrestricted == ("default",)
        finally:
            administrator.acl_deluser(*users)


@pytest.mark.parametrize(
    ("rights", "sees", "unrestricted"),
    [
        ((), False, ()),
        (("+config|get",), True, ("app",)),
        (("-acl|whoami",), False, ()),
        (("+config|get", "-acl|whoami"), True, ("",)),  # its name is not known
    ],
)
def test_a_user_who_may_not_see_settings_or_users_is_told_what_it_may_see(valkey, rights, sees, unrestricted):
    own = ["+@read", "+info", "+time", "+fcall", "+function|list", "+acl|whoami", "allkeys"]
    with valkey.client() as administrator:
        try:
            administrator.execute_command("ACL SETUSER", "app", "on", "nopass", *own, *rights)
            with redis.Redis.from_url(valkey.url, username="app", password="any", socket_timeout=ANSWER_S) as app:
                found = read_server("s", app, app)
        finally:
            administrator.acl_deluser("app")
    assert (found.fsync is not None, found.unrestricted) == (sees, unrestricted)


def test_a_store_of_a_newer_release_is_a_problem_and_its_contents_are_not_looked_at(given, tmp_path, valkey):
    findings(given, tmp_path)
    assert findings(given, tmp_path)["format"].found == "1"
    with valkey.client() as client:
        client.set(keyspace.shared("format"), 7)
    found = findings(given, tmp_path)
    assert found["format"].level is Level.PROBLEM
    assert "Start that release" in found["format"].advice
    assert "alerts" not in found


def test_a_store_that_is_being_restored_is_a_problem_until_that_is_finished(given, tmp_path, valkey):
    assert "restore" not in findings(given, tmp_path)
    for phase, level in ((Phase.FENCED, Level.PROBLEM), (Phase.DECIDING, Level.PROBLEM), (Phase.FINISHED, None)):
        with valkey.client() as client:
            client.hset(keyspace.shared("epoch"), "phase", phase)
        found = findings(given, tmp_path).get("restore")
        assert (found and found.level) == level
        assert found is None or "docs/backup.md" in found.advice


def test_registrations_that_cannot_be_read_at_all_are_a_problem(given, tmp_path, monkeypatch):
    def fail(*_):
        raise StoreFault("Something is wrong with the store.")

    register(given, WEBHOOK)
    monkeypatch.setattr("relay.store.registry.webhooks.Registry.unverified", fail)
    found = findings(given, tmp_path)
    assert (found["registrations"].level, found["registrations"].found) == (
        Level.PROBLEM,
        "Something is wrong with the store.",
    )
    assert "endpoints" not in found
    assert "breakers" in found, "what follows is examined all the same"


def test_keys_that_end_soon_are_named_and_others_counted(given, tmp_path, monkeypatch):
    keys = cli_runtime(Settings.from_environ(given)).api_keys
    day_s = 86_400
    keys.create("shop", ["trigger"], lifetime_s=8 * day_s)
    keys.create("shop", ["trigger"])
    assert findings(given, tmp_path)["keys"].found == "2 live"
    _, ending = keys.create("shop", ["trigger"], lifetime_s=6 * day_s)
    found = findings(given, tmp_path)["keys"]
    assert (found.level, found.found) == (Level.PROBLEM, f"end within 7 days: {ending.id} of shop")
    now_s = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now_s + 6.5 * day_s)
        later = findings(given, tmp_path)["keys"].found
    assert "end within 7 days: " in later
    assert ending.id not in later, "it has ended"
    keys.revoke(ending.id)
    assert findings(given, tmp_path)["keys"].found == "2 live"


def test_a_key_that_somebody_else_wrote_is_a_problem(given, tmp_path, valkey):
    with valkey.client() as client:
        client.sadd(keyspace.shared("api_keys"), "0" * 16)
        client.hset(keyspace.shared("api_key", key="0" * 16), mapping={"plugin": "shop"})
    found = findings(given, tmp_path)["keys"]
    assert found.level is Level.PROBLEM
    assert "0" * 16 in found.found


def test_a_webhook_that_no_relay_has_made_current_is_a_problem(given, tmp_path, valkey):
    register(given, WEBHOOK)
    assert "revisions" not in findings(given, tmp_path)
    with valkey.client() as client:
        client.hset("relay:{0}:p:shop:webhooks", "ghost", 1)
    found = findings(given, tmp_path)["revisions"]
    assert (found.level, found.found) == (Level.PROBLEM, "made current by something other than a relay: shop/ghost")


def test_decisions_that_somebody_else_has_altered_are_a_problem(given, tmp_path, valkey):
    register(given, WEBHOOK)
    assert "decisions" not in findings(given, tmp_path)
    with valkey.client() as client:
        client.rpush(keyspace.decisions(partition_root(0)), "9 key/x y " + "0" * 64)
    found = findings(given, tmp_path)
    assert (found["decisions"].level, "revisions" in found) == (Level.PROBLEM, False)
    assert "relay:{0}:" in found["decisions"].found


def test_a_trail_that_nobody_signs_is_named_and_so_is_one_that_was_changed(given, tmp_path, valkey):
    assert findings(given, tmp_path)["audit trail"].level is Level.NOTE
    given = given | {"RELAY_AUDIT_KEY": new_private_text()}
    assert findings(given, tmp_path)["audit trail"].level is Level.OK
    entries = keyspace.audit("entries")
    with valkey.client() as client:
        client.rpush(entries, "1000 forget k1 acme a     ")
        lagging = findings(given, tmp_path)["audit trail"]
        assert (lagging.level, "nothing was signed" in lagging.found) == (Level.PROBLEM, True)
        signer = AuditSigner(given["RELAY_AUDIT_KEY"])
        monitor = Checkpointing(Trail(client), Epochs(client, VAULT), signer, "w1", retention_ms=10**13)
        client.delete(entries)
        AuditWriter(client).write_all([AuditEntry(0, "forget", "k1", "acme", "a")] * 2)
        monitor.iterate()
        assert findings(given, tmp_path)["audit trail"].level is Level.OK
        client.lset(entries, 0, "1 forget k1 acme b     ")
        monitor.iterate()
    assert "were changed" in findings(given, tmp_path)["audit trail"].found


def test_a_trail_whose_end_is_gone_with_another_server_is_said_to_have_lost_it(given, tmp_path, valkey):
    given = given | {"RELAY_AUDIT_KEY": new_private_text()}
    with valkey.client() as client:
        monitor = Checkpointing(
            Trail(client), Epochs(client, VAULT), AuditSigner(given["RELAY_AUDIT_KEY"]), "w1", retention_ms=10**13
        )
        AuditWriter(client).write_all([AuditEntry(0, "forget", "k1", "acme", "a")] * 2)
        monitor.iterate()
        client.ltrim(keyspace.audit("entries"), 0, 0)
        client.delete(keyspace.audit("head"))
        monitor._known = dataclasses.replace(monitor._known, server="another")
        monitor.iterate()
    found = findings(given, tmp_path)["audit trail"]
    assert (found.level, "lacks signed entries" in found.found) == (Level.PROBLEM, True)


def test_alerts_that_go_to_no_webhook_are_a_problem(cli):
    def found(name):
        rows = cli.json("doctor", exit_code=1)
        return next((row for row in rows if row["check"] == "alerts"), None)

    assert (found("alerts")["level"], "RELAY_ALERTS" in found("alerts")["found"]) == ("note", True)
    cli.keys["RELAY_ALERTS"] = "ops/on-alert"
    assert (found("alerts")["level"], found("alerts")["found"]) == ("problem", "ops/on-alert is not registered")
    cli.apply({"id": "on-alert", "url": "https://a.example.com/", "method": "POST"}, plugin="ops")
    assert (found("alerts")["level"], found("alerts")["found"]) == ("ok", "go to ops/on-alert")


def test_alerts_are_a_problem_where_their_webhook_cannot_be_looked_up(given, tmp_path, monkeypatch):
    given = given | {"RELAY_ALERTS": "shop/echo"}
    register(given, WEBHOOK)
    assert findings(given, tmp_path)["alerts"].found == "go to shop/echo"

    def away(*_, **__):
        raise Unavailable("The store is away.")

    monkeypatch.setattr("relay.store.registry.webhooks.Registry.current", away)
    found = findings(given, tmp_path)["alerts"]
    assert (found.level, found.found) == (Level.PROBLEM, "The store is away.")


def ended_calls(runtime, plugin, webhook_id, count, *, caller="k1", ok=False, outcome=Outcome.CONNECT_FAILED):
    """Make calls of a webhook that have ended, each with or without an answer; return their reference ids."""
    refs = [new_reference_id(plugin) for _ in range(count)]
    replies = runtime.dispatcher.trigger_many([TriggerRequest(plugin, webhook_id, {}, ref, caller) for ref in refs])
    assert not any(isinstance(reply, Exception) for reply in replies)
    token = uuid4().hex
    assert runtime.store.claim(refs, token).granted == set(refs)
    if ok:
        end = {"state": State.DELIVERED, "outcome": Outcome.ANSWERED, "status": 200, "error": False}
    else:
        end = {"state": State.UNREACHABLE, "outcome": outcome, "status": 0, "error": True}
    more = {"attempt": None, "contacted": ok}
    runtime.store.settle([Settlement(reference_id=ref, claim_token=token, **end, **more) for ref in refs])
    return refs


@pytest.mark.parametrize(
    ("failed", "good", "level"),
    [(9, 0, Level.OK), (5, 5, Level.PROBLEM), (10, 0, Level.PROBLEM), (5, 6, Level.OK), (0, 10, Level.OK)],
)
def test_a_webhook_that_fails_half_of_its_calls_is_a_problem_from_ten_calls_on(given, tmp_path, failed, good, level):
    runtime = register(given, WEBHOOK)
    ended_calls(runtime, "shop", "echo", failed)
    ended_calls(runtime, "shop", "echo", good, ok=True)
    found = findings(given, tmp_path)["failing"]
    assert found.level is level
    assert (f"shop/echo ({failed} of {failed + good})" in found.found) == (level is Level.PROBLEM)


def test_an_open_breaker_is_a_problem_that_names_its_webhook(given, tmp_path):
    runtime = register(given, WEBHOOK)
    assert findings(given, tmp_path)["breakers"].level is Level.OK
    ended_calls(runtime, "shop", "echo", 20)
    found = findings(given, tmp_path)["breakers"]
    assert (found.level, "shop/echo (open)" in found.found) == (Level.PROBLEM, True)
    list(runtime.policies.close_breaker("shop", "echo"))
    assert findings(given, tmp_path)["breakers"].level is Level.OK


@pytest.mark.parametrize(("check", "caller"), [("alerts", OwnCaller.ALERT), ("callbacks", OwnCaller.CALLBACK)])
def test_calls_of_the_relay_itself_that_failed_are_a_problem_until_a_replay_succeeds(given, tmp_path, check, caller):
    given = given | {"RELAY_ALERTS": "shop/echo"}
    runtime = register(given, WEBHOOK)
    ended_calls(runtime, "shop", "echo", 3)  # of somebody else
    assert findings(given, tmp_path)[check].level is Level.OK
    ended_calls(runtime, "shop", "echo", 2, caller=caller)
    ended_calls(runtime, "shop", "echo", 1, caller=caller, ok=True)
    found = findings(given, tmp_path)[check]
    assert (found.level, "shop/echo (2)" in found.found, bool(found.advice)) == (Level.PROBLEM, True, True)


def refused_call(runtime, caller):
    """Make a call that does not fit its webhook."""
    request = {"data": {}, "headers": {"X-Not-There": "1"}}
    call = TriggerRequest("shop", "echo", request, new_reference_id("shop"), caller)
    assert isinstance(runtime.dispatcher.trigger_many([call])[0], RequestRejected)


@pytest.mark.parametrize("is_refused", [False, True])
@pytest.mark.parametrize(("hours", "level"), [(23, Level.PROBLEM), (25, Level.OK)])
def test_calls_that_failed_count_for_a_day(given, tmp_path, monkeypatch, hours, level, is_refused):
    runtime = register(given, WEBHOOK)
    if is_refused:
        refused_call(runtime, OwnCaller.CALLBACK)
    else:
        ended_calls(runtime, "shop", "echo", 1, caller=OwnCaller.CALLBACK)
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + hours * 3_600)
    assert findings(given, tmp_path)["callbacks"].level is level


def test_an_alert_that_did_not_fit_its_webhook_counts_as_failed(given, tmp_path):
    given = given | {"RELAY_ALERTS": "shop/echo"}
    runtime = register(given, WEBHOOK)
    refused_call(runtime, OwnCaller.ALERT)
    assert findings(given, tmp_path)["alerts"].level is Level.PROBLEM


def test_a_replay_that_is_paused_is_told(given, tmp_path):
    runtime = register(given, WEBHOOK)
    ended_calls(runtime, "shop", "echo", 2)
    job = runtime.replays.start("shop", Request(filter=Filter()), caller="cli")
    assert "replays" not in findings(given, tmp_path)
    runtime.replays.pause("shop", job.replay_id)
    found = findings(given, tmp_path)["replays"]
    assert (found.level, f"{job.replay_id} of shop" in found.found) == (Level.NOTE, True)


@pytest.mark.parametrize(
    ("api_url", "behind", "level"),
    [
        (None, "false", Level.OK),
        ("http://localhost:8000", "false", Level.OK),
        ("http://[::1]:8000", "false", Level.OK),
        ("https://relay.example.com", "false", Level.NOTE),
        ("http://10.0.0.5:8000", "false", Level.NOTE),
        ("http://10.0.0.5:8000", "true", Level.OK),
    ],
)
def test_it_names_an_api_that_others_reach_without_a_proxy(given, api_url, behind, level):
    named = {"RELAY_API_URL": api_url} if api_url else {}
    settings = Settings.from_environ({**given, "RELAY_BEHIND_PROXY": behind, **named})
    found = examine_ingress(settings)
    assert found.level is level
    assert ("deploy/proxy" in found.advice) is (level is Level.NOTE)


def test_it_says_whether_calls_go_through_a_proxy_and_whether_that_answers(given, tmp_path):
    assert "no proxy" in findings(given, tmp_path)["way out"].found
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        port = proxy.getsockname()[1]
        through = {**given, "RELAY_EGRESS_PROXY": f"http://planted-user:planted-password@127.0.0.1:{port}"}
        answers = findings(through, tmp_path)["way out"]
    closed = findings(through, tmp_path)["way out"]
    assert (answers.level, closed.level) == (Level.OK, Level.NOTE)
    for each in (answers, closed):
        assert f"127.0.0.1:{port}" in each.found
        assert "planted" not in each.found + each.advice
    assert "cannot be reached" in closed.found
    assert "RELAY_EGRESS_PROXY" in closed.advice


def test_a_server_without_this_version_s_functions_is_a_problem_that_one_command_solves(given, tmp_path, valkey):
    with valkey.client() as client:
        client.function_flush()
    found = findings(given, tmp_path)["functions"]
    assert (found.level, found.found) == (Level.PROBLEM, f"it lacks {library().name}")
    assert "`relay functions load`" in found.advice
    cli = Cli(given["RELAY_REDIS_URL"], tmp_path, {name: given[name] for name in given if name != "RELAY_REDIS_URL"})
    assert cli.json("functions", "load") == {"library": library().name, "servers": 1}
    assert findings(given, tmp_path)["functions"].level is Level.OK
    assert cli.run("functions", "load").stdout == f"{library().name} was loaded into 0 servers.\n"


def test_the_command_fails_for_problems_and_not_for_notes(given, tmp_path):
    keys = {name: text for name, text in given.items() if name != "RELAY_REDIS_URL"}
    cli = Cli(given["RELAY_REDIS_URL"], tmp_path, keys)
    runtime = cli.runtime()
    for lanes in ([], LANES):
        runtime.workers.beat("w1", lanes)
        result = cli.run("doctor")
        problems = 0 if lanes else len(LANES)
        assert result.exit_code == (1 if problems else 0), result.stdout
        assert result.stderr == (f"Problems to be solved: {problems}.\n" if problems else "")
        rows = cli.json("doctor", exit_code=result.exit_code)
        assert sum(row["level"] == "problem" for row in rows) == problems
        assert any(row["level"] == "note" for row in rows)
        assert all((row["advice"] is None) is (row["level"] == "ok") for row in rows if row["check"] != "back-up")
    cli.close()


# -- what is found, from what is known

WELL = ServerHealth(
    "a:1", "valkey", (9,), append_only=True, append_only_healthy=True, fsync="always", eviction="noeviction",
    used_bytes=1, maximum_bytes=0, skew_ms=3, unrestricted=(), connections=8, most_connections=10_000,
)  # fmt: skip
SERVERS = [
    ({"version": (7, 9)}, "redis", Level.PROBLEM, "reachable, valkey 7.9"),
    ({"version": (8, 0, 1)}, "redis", Level.OK, "reachable, valkey 8.0.1"),
    ({"software": "redis", "version": (6, 9)}, "redis", Level.PROBLEM, "reachable, redis 6.9"),
    ({"software": "redis", "version": (7,)}, "redis", Level.OK, "reachable, redis 7"),
    ({"append_only": False, "fsync": "no"}, "append-only file", Level.PROBLEM, "off"),
    ({"fsync": "no"}, "append-only file", Level.PROBLEM, "on, appendfsync no"),
    ({"fsync": None}, "append-only file", Level.OK, "on, appendfsync unknown"),
    ({"fsync": "everysec"}, "append-only file", Level.NOTE, "on, appendfsync everysec"),
    ({"append_only_healthy": False}, "append-only file", Level.PROBLEM, "on, but the last write failed"),
    ({"failed_writes": ("x", "y")}, "append-only file", Level.PROBLEM, "on, but x and y failed the last time"),
    ({"eviction": None}, "eviction", Level.OK, "maxmemory-policy unknown"),
    ({"eviction": "allkeys-lru"}, "eviction", Level.PROBLEM, "maxmemory-policy allkeys-lru"),
    ({"used_bytes": 89, "maximum_bytes": 100}, "memory", Level.OK, "89% used"),
    ({"used_bytes": 90, "maximum_bytes": 100}, "memory", Level.PROBLEM, "90% used"),
    ({"unrestricted": ("api", "worker")}, "server users", Level.NOTE, "may do more than needed: api, worker"),
    ({"connections": 7_999}, "connections", Level.OK, "80% of maxclients"),
    ({"connections": 8_000}, "connections", Level.NOTE, "80% of maxclients"),
    ({"connections": 9_500}, "connections", Level.PROBLEM, "95% of maxclients"),
    ({"skew_ms": -999.6}, "clock", Level.OK, "the server is -1000 ms off this machine"),
]


@pytest.mark.parametrize(("more", "check", "level", "said"), SERVERS)
def test_each_fault_of_a_server_is_told_and_of_several_servers_named(more, check, level, said):
    server, other = dataclasses.replace(WELL, **more), dataclasses.replace(WELL, name="b:1")
    (found,) = (each for each in examine_servers(StoreHealth((server,)), 0) if each.check == check)
    assert (found.level, found.found, bool(found.advice)) == (level, said, level is not Level.OK)
    several = [each for each in examine_servers(StoreHealth((other, server)), 0) if each.check == check]
    assert several
    if level is not Level.OK:
        assert [(each.level, each.found) for each in several] == [(level, f"{said} (a:1)")]


def test_faults_that_differ_are_told_apart_and_those_that_are_alike_together():
    versions = {"a": (7, 1), "b": (7, 2), "c": (9,), "d": (7, 1)}
    servers = tuple(dataclasses.replace(WELL, name=name, version=each) for name, each in versions.items())
    found = [each for each in examine_servers(StoreHealth(servers, away=("e", "f")), 0) if each.check == "redis"]
    assert [each.found for each in found] == [
        "cannot be reached: e, f", "reachable, valkey 7.1 (a, d)", "reachable, valkey 7.2 (b)"
    ]  # fmt: skip
    well = {each.check: each.found for each in examine_servers(StoreHealth(servers[2:3] * 2), 0)}
    assert (well["redis"], well["clock"]) == (
        "2 servers: reachable, valkey 9",
        "2 servers: the server is +3 ms off this machine",
    )
    mixed = (WELL, dataclasses.replace(WELL, skew_ms=5))
    assert {each.check: each.found for each in examine_servers(StoreHealth(mixed), 0)}["clock"] == "2 servers: all well"


@pytest.mark.parametrize(
    ("followers", "level", "said"),
    [
        ((1, 2, None), Level.PROBLEM, "fewer than 2 follow s0"),
        ((2, 3, None), Level.OK, "at least 2 follow every primary"),
        ((0, 0), Level.PROBLEM, "fewer than 2 follow s0, s1"),
    ],
)
def test_primaries_with_too_few_replicas_are_named(followers, level, said):
    servers = [dataclasses.replace(WELL, name=f"s{n}", replicas=each) for n, each in enumerate(followers)]
    found = {each.check: each for each in examine_servers(StoreHealth(tuple(servers)), 2)}
    assert (found["replicas"].level, found["replicas"].found) == (level, said)
    assert "replicas" not in {each.check for each in examine_servers(StoreHealth(tuple(servers)), 0)}


@pytest.mark.parametrize(
    ("workers", "backlog", "level", "said"),
    [
        (0, (0, None), Level.PROBLEM, "0 workers, 0 waiting"),
        (1, (1, 900_000), Level.OK, "1 worker, 1 waiting, the oldest for 900 s"),
        (2, (7, 900_001), Level.NOTE, "2 workers, 7 waiting, the oldest for 900 s"),
        (2, (7, None), Level.OK, "2 workers, 7 waiting, the oldest for 0 s"),
        (None, (7, 1_000), Level.OK, "7 waiting, the oldest for 1 s"),
        (None, (7, 1_000_000), Level.NOTE, "7 waiting, the oldest for 1000 s"),
    ],
)
def test_a_lane_is_judged_by_its_workers_and_its_oldest_call(workers, backlog, level, said):
    alive = None if workers is None else [LiveWorker(f"w{n}", frozenset({"bulk"}), 0) for n in range(workers)]
    first, found = examine_lanes(alive, [LaneBacklog("bulk", *backlog)])
    assert (found.check, found.level, found.found, bool(found.advice)) == (
        "lane bulk",
        level,
        said,
        level is not Level.OK,
    )
    shown = {None: "not known: their heartbeats are among the shared keys", 0: "none is alive", 1: "w0", 2: "w0, w1"}
    assert (first.found, first.level is Level.OK) == (shown[workers], bool(workers))


def trail_end(signed, unsigned, *, breach=None, age_ms=0):
    """Make the end of a trail with so many signed entries, of whose others the oldest is so old, the rest new."""
    now_ms = 10_000_000
    ages_ms = [age_ms + 1_000_000] * signed + [age_ms, 0, 0][:unsigned]
    entries = [b"%d forget k1 acme a     " % (now_ms - each) for each in ages_ms]
    point = Checkpoint.over(1, NOTHING, entries[:signed], now_ms, breach)
    head = Signed.by(AuditSigner(new_private_text()), point.members("t", "k")).to_bytes()
    return TrailEnd(0, b"", head, b"", entries, more=False, now_ms=now_ms)


TRAILS = [
    ([(2, 0)], [], Level.OK, "signed"),
    ([(2, 1, None, LAG_MS), (1, 1, None, 1_000)], [], Level.OK, "signed"),
    ([(0, 0), (2, 3, None, LAG_MS + 1_000), (1, 1, None, 1_000)], [], Level.PROBLEM, "nothing was signed for 61 s"),
    ([(2, 0)], ["x", "y"], Level.PROBLEM, "these trails cannot be read: x, y"),
    ([(2, 0), (2, 0, LOST)], ["x"], Level.PROBLEM, "the server that took over lacks signed entries (trail t1)"),
    ([(2, 0, EDITED), (2, 0, LOST)], [], Level.PROBLEM, "signed entries were changed (trail t0)"),
    ([(2, 0, LOST), (2, 0), (2, 0, EDITED)], [], Level.PROBLEM, "signed entries were changed (trail t2)"),
]


@pytest.mark.parametrize(("ends", "silent", "level", "said"), TRAILS)
def test_several_trails_are_judged_by_the_worst_of_them(ends, silent, level, said):
    made = {}
    for number, (signed, unsigned, *more) in enumerate(ends):
        breach, age_ms = (*more, *[None, 0][len(more) :])
        made[f"t{number}"] = trail_end(signed, unsigned, breach=breach and Breach(1, breach), age_ms=age_ms)
    found = judged_trails(made, silent)
    assert (found.level, found.found, bool(found.advice)) == (level, said, level is not Level.OK)


def test_a_breaker_that_is_not_closed_is_named_with_how_it_stands():
    traffics = {name: Traffic(paused=False, breaker=name, failures=0, open_until_ms=None, parked=0, running=0) for name in ("open", "closed", "half-open")}  # fmt: skip
    found = _breakers(traffics)
    said = "the endpoints of these cannot be contacted: open (open), half-open (half-open)"
    assert (found.level, found.found) == (Level.PROBLEM, said)


def test_no_more_than_ten_names_are_listed():
    names = [f"n{number}" for number in range(12)]
    assert listed(names[:10]) == ", ".join(names[:10])
    assert listed(names) == ", ".join(names[:10]) + " and 2 more"


def test_a_process_that_has_ceased_to_end_is_only_noted_and_the_one_that_ends_most_comes_first(
    given, tmp_path, monkeypatch
):
    with_relay_env(tmp_path)
    log, now_s = RestartLog(DataDir.make(tmp_path)), time.time()
    for _ in range(OFTEN):
        log.note("api", -11)
    log.note("worker_bulk", None)
    monkeypatch.setattr(time, "time", lambda: now_s + LATELY_S + 60)
    found = findings(given, tmp_path)["restarts"]
    assert found.level is Level.NOTE
    at = rf"last {time.strftime('%Y-%m-%d %H:', time.gmtime(now_s))}\d\d:\d\d UTC"
    assert re.fullmatch(rf"api 5 times, {at} \(SIGSEGV\); worker_bulk once, {at} \(unknown\)", found.found)


def test_a_newest_key_is_named_with_how_many_the_ring_has(given, tmp_path):
    ring = f"{given['RELAY_DATA_KEYS']},{given['RELAY_TARGET_KEYS']}"
    found = findings({**given, "RELAY_DATA_KEYS": ring}, tmp_path)
    assert found["data keys"].found == f"2, newest {Vault.from_text(ring).key_ids[0]}"
    assert found["target keys"].found.startswith("1, newest ")


def test_only_paused_replays_are_told_and_every_plugin_s(given, tmp_path):
    jobs = []
    for plugin in ("shop", "clinic"):
        runtime = register(given, WEBHOOK, plugin)
        ended_calls(runtime, plugin, "echo", 2)
        jobs.append(runtime.replays.start(plugin, Request(filter=Filter()), caller="cli").replay_id)
        runtime.replays.pause(plugin, jobs[-1])
    cancelled = runtime.replays.start("clinic", Request(filter=Filter()), caller="cli").replay_id
    runtime.replays.cancel("clinic", cancelled)
    found = findings(given, tmp_path)["replays"].found
    assert set(found.removeprefix("paused: ").split(", ")) == {f"{jobs[0]} of shop", f"{jobs[1]} of clinic"}
