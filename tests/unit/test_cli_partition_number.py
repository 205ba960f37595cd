"""A command does nothing if its number of partitions is not the store's, or if a newer release wrote the store."""

from __future__ import annotations

import pytest

from relay.store.keys import keyspace
from relay.store.partitions.number import DIVIDING
from tests.unit.cli import Cli, a_webhook
from tests.unit.command_tree import LEAVES, arguments

#: Commands that use no store, and the one that changes the number. `vault promote`: nothing is left to promote.
WITHOUT = {
    ("up",),
    ("settings",),
    ("settings", "init"),
    ("audit", "key"),
    ("partitions", "divide"),
    ("vault", "promote"),
}
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
def test_while_the_store_is_divided_a_command_is_refused_and_changes_nothing(site, valkey_server, path):
    with valkey_server.client() as client:
        client.set(keyspace.shared("partitions"), DIVIDING + b"2 1 1 1 1")
        try:
            before = everything(valkey_server)
            result = site.cli.run(*arguments(site, path), text="a-new-secret")
            assert result.exit_code == 1
            assert "is being divided into 2 partitions" in " ".join(result.stderr.split())
            assert everything(valkey_server) == before
        finally:
            client.set(keyspace.shared("partitions"), 2)


@pytest.mark.parametrize("path", [*ASKING, ("partitions", "divide")], ids=[*IDS, "partitions divide"])
def test_in_a_store_of_a_newer_release_a_command_is_refused_and_changes_nothing(site, valkey_server, path):
    key = keyspace.shared("format")
    with valkey_server.client() as client:
        before, known = everything(valkey_server), client.get(key)
        client.set(key, 7)
        try:
            result = site.cli.run(*arguments(site, path), text="a-new-secret")
            assert result.exit_code == 1
            assert "The store was written by a newer release (format 7;" in " ".join(result.output.split())
        finally:
            client.set(key, known)
        assert everything(valkey_server) == before


def test_the_error_has_a_code_for_programs(site):
    other = Cli(site.cli.url, site.cli.directory, site.cli.keys | {"RELAY_PARTITIONS": "4"})
    assert other.json("webhooks", "list", "--plugin", "acme", exit_code=1)["code"] == "bad_settings"


def test_a_store_with_one_partition_keeps_it(cli, valkey):
    cli.apply(a_webhook())
    divided = Cli(cli.url, cli.directory, cli.keys | {"RELAY_PARTITIONS": "4"})
    result = divided.run(*LIST)
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert "RELAY_PARTITIONS is 4, but the store has 1: use 1" in said
    assert "stop every process, then: relay partitions divide 4" in said
    with valkey.client() as client:
        assert not client.exists(keyspace.shared("partitions"))
    assert [row["id"] for row in cli.json(*LIST)] == ["ping"]
