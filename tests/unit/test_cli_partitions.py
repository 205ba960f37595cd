"""``relay partitions``: shows where partitions and plugins are, and moves a plugin."""

from __future__ import annotations

import re

import pytest

from relay.store.keyspace import Keyspace
from relay.store.moving import PluginMoves
from tests.receivers import closed_port
from tests.store_keys import KEYS
from tests.unit.cli import Cli, a_webhook
from tests.unit.test_cli_invocations import settle, trigger


def test_one_partition_has_every_plugin_and_says_so(cli, valkey):
    cli.apply(a_webhook())
    cli.apply(a_webhook(), plugin="other")
    made = [trigger(cli, "--async")["referenceId"] for _ in range(3)]
    settle(cli, made[0])
    (row,) = cli.json("partitions", "show")
    server = valkey.tcp_url.removeprefix("redis://").removesuffix("/0")
    assert row == {
        "number": 0,
        "root": "relay:{0}:",
        "server": server,
        "plugins": ["acme", "other"],
        "pending": 2,
        "records": 3,
        "moving": [],
    }
    result = cli.run("partitions", "show")
    assert result.exit_code == 0
    assert result.stderr == "The store has one partition: every plugin is in it.\n"
    assert result.stdout.splitlines()[2].split() == ["relay:{0}:", server, "2", "3", "acme,", "other"]


def test_each_of_many_partitions_has_its_own_plugins(cli):
    divided = Cli(cli.url, cli.directory, cli.keys | {"RELAY_PARTITIONS": "4"})
    plugins = [f"plugin-{number}" for number in range(8)]
    for plugin in plugins:
        divided.apply(a_webhook(), plugin=plugin)
    divided.json("trigger", "ping", "--plugin", plugins[0], "--async")
    rows = divided.json("partitions", "show")
    assert [row["root"] for row in rows] == [f"relay:{{{number}}}:" for number in range(4)]
    keys = Keyspace(4)
    for row in rows:
        assert row["plugins"] == [each for each in plugins if keys.partition_of(each) == row["number"]]
        own = int(row["number"] == keys.partition_of(plugins[0]))
        assert (row["pending"], row["records"]) == (own, own)
    assert divided.run("partitions", "show").stderr == ""


def test_the_socket_of_a_server_without_a_port_is_shown(cli, valkey_server):
    (row,) = Cli(valkey_server.url, cli.directory, cli.keys).json("partitions", "show")
    assert row["server"] == valkey_server.url.replace("unix://", "unix:")


def test_the_table_fits_80_columns_however_many_plugins_there_are(cli, terminal, valkey):
    with valkey.client() as client:
        client.sadd(KEYS.plugins(), *(f"a-plugin-with-a-name-that-is-long-{number}" for number in range(40)))
        client.hset(KEYS.pending(), "count", 1_000_000)
    status, shown = terminal("partitions", "show", environ={"NO_COLOR": "1"})
    assert status == 0
    lines = re.sub(r"\x1b\[[01]m", "", shown).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("relay:{0}:") and "1000000" in line for line in lines)


@pytest.mark.parametrize("form", ["json", "table"])
def test_a_server_that_is_away_is_an_error(cli, form):
    away = Cli(f"redis://127.0.0.1:{closed_port()}/0", cli.directory, cli.keys)
    result = away.run("partitions", "show", "--output", form)
    assert result.exit_code == 1
    assert "Is it running?" in result.stderr


@pytest.fixture
def divided(cli, monkeypatch):
    """Commands for a store of four partitions, with a plugin ``acme`` that has a call; moves do not wait."""
    monkeypatch.setitem(PluginMoves.__init__.__kwdefaults__, "learnt_s", 0.0)
    divided = Cli(cli.url, cli.directory, cli.keys | {"RELAY_PARTITIONS": "4"})
    divided.apply(a_webhook())
    return divided


def partition_with(cli, plugin):
    return next(row["number"] for row in cli.json("partitions", "show") if plugin in row["plugins"])


def test_a_paused_plugin_is_moved_and_its_calls_are_found_by_their_old_ids(divided):
    ref = trigger(divided, "--async")["referenceId"]
    divided.json("webhooks", "pause", "ping", "--plugin", "acme")
    source = partition_with(divided, "acme")
    target = (source + 1) % 4
    moved = divided.json("partitions", "move", "acme", "--to", str(target))
    assert (moved["plugins"], moved["source"], moved["target"]) == (["acme"], source, target)
    assert moved["keys"] > 5
    assert partition_with(divided, "acme") == target
    assert divided.json("invocations", "show", ref)["state"] == "queued"
    again = divided.run("partitions", "move", "acme", "--to", str(target))
    assert again.stdout == f"Already in partition {target}: acme.\n"
    assert divided.json("partitions", "move", "acme")["target"] == source, "without --to it goes home"


def test_a_plugin_that_is_not_paused_is_not_moved(divided):
    target = (partition_with(divided, "acme") + 1) % 4
    result = divided.run("partitions", "move", "acme", "--to", str(target))
    assert result.exit_code == 1
    assert "Not paused: acme/ping. Pause every webhook of the plugin (`relay webhooks pause`)" in result.stderr


def test_a_plugin_that_there_is_not_is_not_moved(divided):
    result = divided.run("partitions", "move", "acmee")
    assert result.exit_code == 2
    assert "acme" in result.stderr


@pytest.mark.parametrize(("partitions", "words"), [("4", "partitions 0 to 3"), ("1", "one partition")])
def test_a_partition_that_there_is_not_is_refused(cli, partitions, words):
    some = Cli(cli.url, cli.directory, cli.keys | {"RELAY_PARTITIONS": partitions})
    some.apply(a_webhook())
    result = some.run("partitions", "move", "acme", "--to", "4")
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
