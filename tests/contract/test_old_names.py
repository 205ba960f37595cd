"""A server filled before keys had partitions: every key is renamed to have its root, once."""

import time

import pytest
import redis

from relay.errors import Conflict, SettingsError
from relay.store import keyspace
from relay.store.old_names import OLD_MARKS, adopt_old_keys, has_old_names, rename_old_keys
from relay.up import access
from tests.store_keys import KEYS


@pytest.fixture
def client(valkey):
    """A client of a single server: clusters were never filled under the old names."""
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
    assert client.hget(KEYS.record("a"), "state") == b"queued"
    assert client.get(KEYS.plugin_pending("acme")) == b"3"
    assert client.zscore(KEYS.due_running(), "a") == 1
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
    assert len(client.keys(KEYS.payload("*"))) == 2_500
    assert client.keys("relay:inv:*") == []


def test_whoever_is_stopped_at_any_step_leaves_a_server_that_says_so(client, monkeypatch):
    """The server counts as one with old names until its last key is renamed."""
    fill(client)
    client.sadd("relay:plugins", "acme")
    send, left = client.connection_pool.connection_class.send_packed_command, [0]

    def stopping(connection, *args, **options):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        send(connection, *args, **options)

    monkeypatch.setattr(client.connection_pool.connection_class, "send_packed_command", stopping)
    step, is_stopped = 0, True
    while is_stopped:
        step += 1
        left[0] = step
        try:
            adopt_old_keys(client)
            is_stopped = False
        except KeyboardInterrupt:
            is_stopped = True
        left[0] = 0
        old = [key for key in client.keys("relay:*") if not key.startswith(b"relay:{")]
        assert has_old_names(client) == bool(old), f"stopped at step {step}"
        client.delete(*client.keys("relay:*"))
        fill(client)
        client.sadd("relay:plugins", "acme")
    assert step > 5, "there are more steps than that"


def test_nothing_is_renamed_while_a_worker_of_that_version_lives(client):
    fill(client)
    client.zadd("relay:workers", {"bulk1@host": int(time.time() * 1000)})
    with pytest.raises(Conflict, match="stop them first"):
        adopt_old_keys(client)
    client.zadd("relay:workers", {"bulk1@host": int(time.time() * 1000) - 40_000})
    assert adopt_old_keys(client) == 6


def test_names_that_two_versions_have_written_are_said(client):
    fill(client)
    client.sadd(keyspace.api_keys(), "another")
    with pytest.raises(Conflict, match="Two versions have used the store"):
        adopt_old_keys(client)
    assert client.smembers(OLD_MARKS[1]) == {b"k"}


@pytest.mark.parametrize("name", ["api", "worker", "operator"])
def test_every_user_may_see_that_there_are_old_names_and_an_operator_is_told_who_renames(valkey, client, name):
    fill(client)
    user = next(user for user in access.users() if user.name == name)
    client.execute_command("ACL", "SETUSER", name, *user.rule("secret").split()[2:])
    with redis.Redis.from_url(valkey.url, username=name, password="secret") as theirs:
        assert has_old_names(theirs)
        if name == "operator":
            with pytest.raises(SettingsError, match="all rights"):
                adopt_old_keys(theirs)
    client.execute_command("ACL", "DELUSER", name)
