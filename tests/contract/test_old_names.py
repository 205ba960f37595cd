"""A server that was filled before keys had partitions: every key gets its root, once."""

import pytest

from relay.store import keyspace
from relay.store.old_names import rename_old_keys


@pytest.fixture
def client(valkey):
    """Of one server: no cluster was filled before."""
    with valkey.client() as client:
        yield client


def fill(client):
    client.hset("relay:inv:a", "state", "queued")
    client.set("relay:p:acme:pending", 3)
    client.zadd("relay:due:running", {"a": 1})
    client.sadd("relay:keys", "k")
    client.hset("relay:key:k", "plugin", "acme")
    client.set("interactive", "another's")


def test_old_keys_get_their_root_and_keep_what_they_hold(client):
    fill(client)
    assert rename_old_keys(client) == 5
    assert client.hget(keyspace.record("a"), "state") == b"queued"
    assert client.get(keyspace.plugin_pending("acme")) == b"3"
    assert client.zscore(keyspace.due_running(), "a") == 1
    assert client.smembers(keyspace.api_keys()) == {b"k"}
    assert client.hget(keyspace.api_key("k"), "plugin") == b"acme"
    assert client.get("interactive") == b"another's"


def test_a_second_run_finds_nothing_to_do(client):
    fill(client)
    rename_old_keys(client)
    before = sorted(client.keys("*"))
    assert rename_old_keys(client) == 0
    assert sorted(client.keys("*")) == before


def test_more_keys_than_one_look_finds_are_all_renamed(client):
    client.mset({f"relay:inv:{number}:payload": "x" for number in range(2_500)})
    rename_old_keys(client)
    assert len(client.keys(keyspace.payload("*"))) == 2_500
    assert client.keys("relay:inv:*") == []
