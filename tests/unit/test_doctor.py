"""The doctor: each thing that may be wrong is found, and comes with what to do about it."""

from __future__ import annotations

import pytest

from relay import doctor
from relay.doctor import Level, examine
from relay.queue import LANES
from relay.registration import read_registrations
from relay.runtime import cli_runtime
from relay.settings import Settings
from relay.store import keyspace
from relay.store.workers import Workers
from relay.vault import Vault

WEBHOOK = '{id: "echo", url: "https://hooks.vendor.com/x", method: "POST"}'


@pytest.fixture
def given(valkey):
    """Variables for a relay on an empty server with an append-only file."""
    with valkey.client() as client:
        client.config_set("appendonly", "yes")
        client.config_set("appendfsync", "always")
        client.config_set("maxmemory-policy", "noeviction")
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


def test_a_server_as_it_should_be_gives_no_problem_but_the_missing_workers(given, tmp_path):
    found = findings(given, tmp_path)
    problems = [check for check, each in found.items() if each.level is Level.PROBLEM]
    assert problems == ["workers", "lane interactive", "lane bulk", "lane replay"]
    assert found["append-only file"].level is Level.OK


def test_a_worker_counts_while_its_heartbeat_is_fresh_and_for_the_lanes_that_it_serves(given, tmp_path, valkey):
    with valkey.client() as client:
        workers = Workers(client)
        workers.beat("interactive1@here", ["interactive"])
        workers.beat("bulk1@there", ["bulk", "replay"])
        client.zincrby(keyspace.workers(), -60_000, "bulk1@there")
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


def test_a_registration_that_does_not_open_is_named(given, tmp_path):
    runtime = cli_runtime(Settings.from_environ(given))
    runtime.registry.apply(*read_registrations(WEBHOOK, runtime.rules, plugin="shop"))
    assert findings(given, tmp_path)["registrations"].found == "1 open"
    other = findings({**given, "RELAY_TARGET_KEYS": Vault.new_key_text()}, tmp_path)["registrations"]
    assert (other.level, "shop/echo" in other.found) == (Level.PROBLEM, True)


@pytest.mark.parametrize("text", ["", "k1:dG9vIHNob3J0"])
def test_a_key_ring_that_is_missing_or_malformed_is_named(given, tmp_path, text):
    found = findings({**given, "RELAY_DATA_KEYS": text}, tmp_path)["data keys"]
    assert found.level is Level.PROBLEM
    assert "RELAY_DATA_KEYS" in found.advice


def test_files_that_others_may_read_are_named(given, tmp_path):
    for name, mode in (("relay.env", 0o600), ("target.keys", 0o644), ("data.keys", 0o600)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    tmp_path.chmod(0o700)
    found = findings(given, tmp_path)["data directory"]
    assert (found.level, found.found) == (Level.PROBLEM, "others may read: target.keys")


def test_a_misspelled_setting_is_named(given, tmp_path, monkeypatch):
    monkeypatch.setenv("RELAY_MAX_WAITER", "1")
    assert "RELAY_MAX_WAITER" in findings(given, tmp_path)["settings"].found


def test_a_library_below_its_floor_is_named(given, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "VERSION_FLOORS", {"celery": (99,), "no-such-library": (1,)})
    found = findings(given, tmp_path)
    assert {each.level for check, each in found.items() if check.startswith("version")} == {Level.PROBLEM}
