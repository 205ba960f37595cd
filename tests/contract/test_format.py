"""The format of the store: written at first, raised by a newer release, and refused by one that does not read it."""

from __future__ import annotations

import socketserver
import threading

import pytest
import redis

from relay.errors import SettingsError
from relay.settings import Settings
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import SHARED_ROOT, partition_root
from relay.store.partitions import format as module
from relay.store.partitions.format import FORMAT, NEWEST, agree_on_format
from relay.store.partitions.number import agree_on_partitions, agreed_client
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


PLACES = [SHARED_ROOT, *map(partition_root, range(4))]


def numbers(client):
    return [client.get(root + "partitions") for root in PLACES]


@pytest.mark.parametrize("lost", [[], [1], [0, 2], [0, 1, 2, 3, 4], [1, 2, 3, 4]])
def test_each_partition_has_a_copy_of_their_number_again_once_a_process_agrees(client, lost):
    agree_on_partitions(client, 4)
    assert numbers(client) == [b"4"] * 5
    for place in lost:
        client.delete(PLACES[place] + "partitions")
    agree_on_partitions(client, 4)
    assert numbers(client) == [b"4"] * 5
    with pytest.raises(SettingsError, match="RELAY_PARTITIONS is 3, but the store has 4"):
        agree_on_partitions(client, 3)
    assert numbers(client) == [b"4"] * 5


def test_one_partition_is_written_nowhere_and_may_be_divided_once_it_is_in_use(client):
    agree_on_partitions(client, 1)
    assert numbers(client) == [None] * 5
    client.sadd("relay:{0}:plugins", "acme")
    with pytest.raises(SettingsError, match=r"the store has 1.* To have 4, stop every process, then: relay part"):
        agree_on_partitions(client, 4)
    agree_on_partitions(client, 1)
    assert numbers(client) == [None] * 5
    client.sadd("relay:{2}:plugins", "beta")  # it was divided, and the number is lost
    agree_on_partitions(client, 4)
    assert numbers(client) == [b"4"] * 5


def test_a_store_that_is_being_divided_is_used_by_nobody_and_says_how_to_go_on(client):
    client.set(SHARED_ROOT + "partitions", "dividing:4 1 2 3 4")
    for count in (1, 2, 4):
        with pytest.raises(SettingsError, match=r"being divided into 4 partitions: .* relay partitions divide 4"):
            agree_on_partitions(client, count)


@pytest.mark.parametrize("error", [b"LOADING the dataset", b"ERR max number of clients reached"])
def test_a_process_that_starts_while_the_server_refuses_everything_finds_it_away(error):
    connections = []

    class Refusing(socketserver.BaseRequestHandler):
        def handle(self):
            connections.append(self.client_address)
            while self.request.recv(65536):
                self.request.sendall(b"-%s\r\n" % error)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"redis://127.0.0.1:{server.server_address[1]}/0"
        given = {"RELAY_REDIS_URL": url, "RELAY_DATA_KEYS": Vault.new_key_text()}
        with agreed_client(Settings.from_environ(given)) as client:
            connections.clear()
            with pytest.raises(redis.ConnectionError):
                client.get("any")
        server.shutdown()
    assert len(connections) < 20
