"""A command does nothing if its number of partitions is not the store's, or the store has keys of an old version."""

from __future__ import annotations

import pytest

from relay.store import keyspace
from relay.store.old_names import OLD_MARKS
from tests.unit.cli import Cli, a_webhook
from tests.unit.command_tree import LEAVES, arguments

#: Commands that use no store, or are meant for stores with old names. `vault promote`: nothing is left to promote.
WITHOUT = {("up",), ("settings",), ("audit", "key"), ("partitions", "adopt"), ("vault", "promote")}
ASKING = [path for path in LEAVES if path not in WITHOUT]
LIST = ("webhooks", "list", "--plugin", "acme")
IDS = [" ".join(path) for path in ASKING]


def everything(server):
    """Return all that a server has, with the time at which each key expires."""
    with server.client() as client:
        return {key: client.dump(key) for key in client.scan_iter()}


@pytest.mark.parametrize("path", ASKING, ids=IDS)
def test_a_command_with_another_number_is_refused_and_changes_nothing(site, valkey_server, path):
    before = everything(valkey_server)
    for number in ("1", "4"):
        other = Cli(site.cli.url, site.cli.directory, site.cli.keys | {"RELAY_PARTITIONS": number})
        result = other.run(*arguments(site, path), text="a-new-secret")
        assert result.exit_code == 1
        assert f"RELAY_PARTITIONS is {number}, but the store has 2: use 2" in result.stderr
    assert everything(valkey_server) == before


@pytest.mark.parametrize("path", ASKING, ids=IDS)
def test_a_command_that_meets_old_names_is_refused_and_says_what_to_do(site, valkey_server, path):
    with valkey_server.client() as client:
        for mark in OLD_MARKS:
            client.sadd(mark, "acme")
            try:
                before = everything(valkey_server)
                result = site.cli.run(*arguments(site, path), text="a-new-secret")
                assert result.exit_code == 1
                assert "`relay partitions adopt`" in result.stderr
                assert everything(valkey_server) == before
            finally:
                client.delete(mark)


def test_the_error_has_a_code_for_programs(site):
    other = Cli(site.cli.url, site.cli.directory, site.cli.keys | {"RELAY_PARTITIONS": "4"})
    assert other.json("webhooks", "list", "--plugin", "acme", exit_code=1)["code"] == "bad_settings"


def test_a_command_does_not_divide_a_store_with_one_partition(cli, valkey):
    cli.apply(a_webhook())
    divided = Cli(cli.url, cli.directory, cli.keys | {"RELAY_PARTITIONS": "4"})
    result = divided.run(*LIST)
    assert result.exit_code == 1
    assert "the store has one partition: start an API process or a worker" in " ".join(result.stderr.split())
    with valkey.client() as client:
        assert not client.exists(keyspace.partitions())
    assert [row["id"] for row in cli.json(*LIST)] == ["ping"]


def test_old_keys_are_adopted_and_everything_is_found(cli, valkey):
    cli.apply(a_webhook())
    with valkey.client() as client:
        for key in client.keys("relay:{*"):
            client.rename(key, "relay:" + key.decode().partition("}:")[2])
    assert cli.run(*LIST).exit_code == 1
    assert cli.json("partitions", "adopt")["keys"] > 3
    assert [row["id"] for row in cli.json(*LIST)] == ["ping"]
    assert cli.run("partitions", "adopt").stdout == "0 keys were renamed.\n"
