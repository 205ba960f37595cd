"""The format of the store: written at first, raised by a newer release, and refused by one that does not read it."""

from __future__ import annotations

import pytest

from relay.errors import SettingsError
from relay.settings import Settings
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import SHARED_ROOT, partition_root
from relay.store.partitions import format as module
from relay.store.partitions.format import FORMAT, NEWEST, agree_on_format
from relay.store.partitions.number import agreed_client
from relay.store.partitions.reachable import roots_of
from relay.vault import Vault
from tests.contract.damaging import ANOTHER_TYPE, VALUES, Damage

SHARED, COPY = "relay:{shared}:format", "relay:{0}:format"
DAMAGES = [name for name in VALUES if name != "missing"] + [ANOTHER_TYPE]


@pytest.fixture
def client(valkey):
    with valkey.client() as client:
        yield client


@pytest.fixture
def settings(valkey):
    return Settings.from_environ({"RELAY_REDIS_URL": valkey.tcp_url, "RELAY_DATA_KEYS": Vault.new_key_text()})


def formats(client, keys=SINGLE):
    return {root: client.get(f"{root}format") for root in roots_of(keys)}


def test_a_release_knows_what_it_writes_and_at_most_what_the_next_one_writes():
    assert NEWEST in {FORMAT, FORMAT + 1}


def test_whoever_comes_first_writes_it_at_every_root(client, settings):
    agreed_client(settings).close()
    assert formats(client) == {partition_root(0): b"1", SHARED_ROOT: b"1"}
    agree_on_format(client, Keyspace(4))
    assert set(formats(client, Keyspace(4)).values()) == {b"1"}


def test_a_newer_release_raises_it_and_an_older_one_that_reads_it_leaves_it(client, monkeypatch):
    agree_on_format(client, SINGLE)
    monkeypatch.setattr(module, "FORMAT", 2)
    monkeypatch.setattr(module, "NEWEST", 2)
    agree_on_format(client, SINGLE)
    assert set(formats(client).values()) == {b"2"}
    monkeypatch.setattr(module, "FORMAT", 1)
    agree_on_format(client, SINGLE)
    assert set(formats(client).values()) == {b"2"}


@pytest.mark.parametrize("key", [SHARED, COPY])
def test_who_does_not_read_it_is_refused_and_writes_nothing(client, settings, key):
    client.set(key, NEWEST + 1)
    with pytest.raises(SettingsError, match=f"newer release \\(format {NEWEST + 1}; this release reads {NEWEST}\\)"):
        agreed_client(settings)
    assert client.keys("*") == [key.encode()]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_counts_as_missing_and_is_written_anew(client, settings, damage):
    agreed_client(settings).close()
    Damage("format", SHARED.encode(), None, damage).do(client)
    agreed_client(settings).close()
    assert set(formats(client).values()) == {b"1"}
