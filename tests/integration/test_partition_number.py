"""A process whose number of partitions is not the store's ends at its start, or serves nothing until it can ask."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import redis

from bench.ports import free_port
from relay.errors import SettingsError, Unavailable
from relay.settings import Settings
from relay.store.keys import keyspace
from relay.store.keys.names import key_in, partition_root
from relay.store.partitions import number as number_module
from relay.store.partitions.plugins import plugins_in
from relay.up.processes import api, worker
from relay.vault import Vault
from relay.wiring.runtime import api_runtime
from tests.conftest import start_valkey
from tests.timing import ANSWER_S

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ENDED_S = 120


@pytest.fixture
def given(valkey):
    return {
        "RELAY_REDIS_URL": valkey.tcp_url,
        "RELAY_TARGET_KEYS": Vault.new_key_text(),
        "RELAY_DATA_KEYS": Vault.new_key_text(),
    }


def started(process, given):
    return subprocess.Popen(
        [BIN / process.command[0], *process.command[1:]],
        cwd=ROOT,
        env={**os.environ, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(given):
    """Start an API process and a worker at the same time; return how they end."""
    door = api(port=free_port(), max_waiters=10, max_connections=10, number=1, cpu=None)
    running = [started(process, given) for process in (door, worker("bulk", 1))]
    try:
        said = [process.communicate(timeout=ENDED_S)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, text) for process, text in zip(running, said, strict=True)]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("partitions", 8, "RELAY_PARTITIONS is 1, but the store has 8: use 8"),
        ("format", 7, "The store was written by a newer release (format 7;"),
    ],
)
def test_api_and_worker_end_with_status_1_where_the_store_is_not_theirs(valkey, given, name, value, told):
    with valkey.client() as client:
        client.set(keyspace.shared(name), value)
        for status, said in ended(given):
            assert status == 1
            assert told in said
        assert client.keys("*") == [keyspace.shared(name).encode()]


@pytest.fixture
def late(tmp_path, given):
    """A process that has started while its server was away, which is there now, and a client of that server."""
    port = free_port()
    runtime = api_runtime(Settings.from_environ({**given, "RELAY_REDIS_URL": f"redis://127.0.0.1:{port}/0"}))
    with pytest.raises(Unavailable):
        runtime.api_keys.list()
    server = start_valkey(tmp_path, port=port)
    try:
        with redis.Redis(port=port, socket_timeout=ANSWER_S) as client:
            yield runtime, client
    finally:
        runtime.close()
        server.terminate()


def test_who_starts_while_one_server_is_away_asks_for_the_format_too(late):
    runtime, client = late
    client.hset(keyspace.shared("format"), "damaged", 1)
    assert runtime.api_keys.list() == []
    assert client.get(keyspace.shared("format")) == b"1"
    client.set(keyspace.shared("format"), 7)
    runtime.client.connection_pool.disconnect()
    with pytest.raises(Unavailable, match="newer release"):
        runtime.api_keys.list()


def test_who_starts_while_one_server_is_away_serves_nobody_until_it_has_asked(late):
    runtime, client = late
    client.set(keyspace.shared("partitions"), 8)
    for _ in range(3):  # the later tries reuse a connection
        with pytest.raises(Unavailable, match="RELAY_PARTITIONS is 1, but the store has 8"):
            runtime.api_keys.list()


def test_a_store_without_a_number_is_given_none_while_it_is_not_known_which_partitions_are_used(valkey, monkeypatch):
    def plugins_unless_silent(client, partition):
        if partition == 0:
            raise Unavailable
        return plugins_in(client, partition)

    with valkey.client() as client:
        with monkeypatch.context() as patch:
            patch.setattr(number_module, "plugins_in", plugins_unless_silent)
            with pytest.raises(Unavailable):
                number_module.agree_on_partitions(client, 4)
        assert client.keys("*") == []
        number_module.agree_on_partitions(client, 4)
        assert client.get(keyspace.shared("partitions")) == b"4"


@pytest.mark.parametrize(("copied", "error"), [(None, Unavailable), (b"8", SettingsError), (b"4", None)])
def test_while_the_shared_keys_are_silent_a_partition_s_copy_of_the_number_counts(valkey, monkeypatch, copied, error):
    copies = [key_in(partition_root(number), "partitions_copy") for number in range(4)]
    with valkey.client() as client:
        if copied is not None:
            client.set(copies[2], copied)
        read = client.get

        def get(key):
            if key == keyspace.shared("partitions"):
                raise redis.ConnectionError
            return read(key)

        monkeypatch.setattr(client, "get", get)
        with nullcontext() if error is None else pytest.raises(error):
            number_module.agree_on_partitions(client, 4)
        assert client.mget(copies) == ([b"4"] * 4 if error is None else [None, None, copied, None])
        assert not client.exists(keyspace.shared("partitions"))
