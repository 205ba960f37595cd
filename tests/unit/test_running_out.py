"""Doctor names what runs out before it has: clocks that part, connections, descriptors, inodes, certificates."""

from __future__ import annotations

import dataclasses
import re
import time
from contextlib import ExitStack

import pytest
import redis

from relay.doctor import Level, examine
from relay.doctor.servers import examine_servers
from relay.settings import Settings
from relay.store.health.readiness import StoreHealth
from relay.store.health.server import ServerHealth
from relay.vault import Vault
from relay.wiring.runtime import cli_runtime
from tests.conftest import start_valkey

WELL = ServerHealth(
    "a:1", "valkey", (9,), append_only=True, append_only_healthy=True, fsync="always", eviction="noeviction",
    used_bytes=1, maximum_bytes=0, skew_ms=3, unrestricted=(), connections=8, most_connections=10_000,
)  # fmt: skip


@pytest.fixture
def given(valkey):
    return {
        "RELAY_REDIS_URL": valkey.url,
        "RELAY_TARGET_KEYS": Vault.new_key_text(),
        "RELAY_DATA_KEYS": Vault.new_key_text(),
    }


def findings(given, data_dir):
    settings = Settings.from_environ(given)
    return {each.check: each for each in examine(data_dir, settings, cli_runtime(settings))}


# -- clocks


def shifted(by_s, round_trip_s=0.0):
    """Make redis-py's TIME tell another time, after half of a round trip."""

    def told(_client):
        time.sleep(round_trip_s / 2)
        now_s = time.time() + by_s
        time.sleep(round_trip_s / 2)
        return int(now_s), int(now_s % 1 * 1e6)

    return told


@pytest.mark.parametrize(
    ("by_s", "level"),
    [
        (0, Level.OK), (0.5, Level.OK), (-0.5, Level.OK), (1.5, Level.NOTE), (-1.5, Level.NOTE), (3, Level.PROBLEM),
        (-3_600, Level.PROBLEM),
    ],
)  # fmt: skip
def test_clocks_that_part_are_a_note_before_they_are_a_problem(given, tmp_path, monkeypatch, by_s, level):
    monkeypatch.setattr(redis.Redis, "time", shifted(by_s))
    found = findings(given, tmp_path)["clock"]
    assert (found.level, bool(found.advice)) == (level, level is not Level.OK)


def test_the_time_that_an_answer_was_under_way_is_no_difference_of_clocks(given, tmp_path, monkeypatch):
    monkeypatch.setattr(redis.Redis, "time", shifted(0, round_trip_s=0.8))
    found = findings(given, tmp_path)["clock"]
    assert abs(int(re.search(r"[-+]\d+", found.found)[0])) < 300


def test_of_several_servers_those_are_named_whose_clock_is_off():
    servers = [dataclasses.replace(WELL, name=f"a:{number}", skew_ms=skew) for number, skew in ((1, 2), (2, -1_400))]
    (found,) = (each for each in examine_servers(StoreHealth(tuple(servers)), 0) if each.check == "clock")
    assert (found.level, found.found) == (Level.NOTE, "the server is -1400 ms off this machine (a:2)")


# -- servers


@pytest.mark.parametrize(("idle", "level"), [(10, Level.OK), (82, Level.NOTE), (94, Level.PROBLEM)])
def test_a_server_that_is_about_to_refuse_connections_is_found(given, tmp_path, idle, level):
    server = start_valkey(tmp_path, maxclients="100")
    try:
        with ExitStack() as stack:
            for _ in range(idle):
                stack.enter_context(redis.Redis(port=server.port, single_connection_client=True))
            found = findings({**given, "RELAY_REDIS_URL": f"redis://127.0.0.1:{server.port}/0"}, tmp_path)
    finally:
        server.terminate()
    assert found["connections"].level is level
    assert "maxclients" in found["connections"].found


@pytest.mark.parametrize("field", ["connected_clients", "connected_slaves", "cluster_connections"])
def test_every_kind_of_connection_counts(given, tmp_path, monkeypatch, field):
    info = redis.Redis.info
    monkeypatch.setattr(redis.Redis, "info", lambda self, *a: {**info(self, *a), field: 99_999})
    assert findings(given, tmp_path)["connections"].level is Level.PROBLEM


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_failed_write_is_a_problem_however_often_the_server_syncs(fsync):
    failed = dataclasses.replace(WELL, fsync=fsync, failed_writes=("snapshot",))
    (found,) = (each for each in examine_servers(StoreHealth((failed,)), 0) if each.check == "append-only file")
    assert (found.level, "snapshot failed" in found.found) == (Level.PROBLEM, True)
