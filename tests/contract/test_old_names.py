"""A server that was filled before keys had partitions: every key gets its root, once."""

from relay.store import keyspace
from relay.store.old_names import rename_old_keys


def fill(client):
    client.hset("relay:inv:a", "state", "queued")
    client.set("relay:p:acme:pending", 3)
    client.zadd("relay:due:running", {"a": 1})
    client.sadd("relay:keys", "k")
    client.hset("relay:key:k", "plugin", "acme")
    client.set("interactive", "another's")


def test_old_keys_get_their_root_and_keep_what_they_hold(redis_client):
    fill(redis_client)
    assert rename_old_keys(redis_client) == 5
    assert redis_client.hget(keyspace.record("a"), "state") == b"queued"
    assert redis_client.get(keyspace.plugin_pending("acme")) == b"3"
    assert redis_client.zscore(keyspace.due_running(), "a") == 1
    assert redis_client.smembers(keyspace.api_keys()) == {b"k"}
    assert redis_client.hget(keyspace.api_key("k"), "plugin") == b"acme"
    assert redis_client.get("interactive") == b"another's"


def test_a_second_run_finds_nothing_to_do(redis_client):
    fill(redis_client)
    rename_old_keys(redis_client)
    before = sorted(redis_client.keys("*"))
    assert rename_old_keys(redis_client) == 0
    assert sorted(redis_client.keys("*")) == before


def test_more_keys_than_one_look_finds_are_all_renamed(redis_client):
    redis_client.mset({f"relay:inv:{number}:payload": "x" for number in range(2_500)})
    rename_old_keys(redis_client)
    assert len(redis_client.keys(keyspace.payload("*"))) == 2_500
    assert redis_client.keys("relay:inv:*") == []
