"""``relay partitions``: shows where partitions and plugins are."""

from __future__ import annotations

import re

import pytest

from relay.store.keyspace import Keyspace
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
