"""``relay partitions``: shows where partitions and plugins are, and divides a store."""

from __future__ import annotations

import os
import re
from contextlib import closing

import pytest

from relay.errors import SettingsError
from relay.queue import make_app
from relay.settings import Settings
from relay.store.counts.totals import StoreCounts
from relay.store.health.workers import Workers
from relay.store.keys.keyspace import Keyspace
from relay.store.partitions.states import PartitionState
from relay.wiring.runtime import cli_runtime
from relay.wiring.worker_runtime import worker_parts
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


@pytest.mark.parametrize("saved", ["", "RELAY_MAX_WAITERS=7\nRELAY_PARTITIONS=1\n", "RELAY_MAX_WAITERS=7\n"])
def test_a_division_is_written_to_the_settings_of_the_data_directory_if_there_are_any(cli, saved):
    file = cli.directory / "relay.env"
    if saved:
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
        file.write_text(saved)
    assert cli.run("partitions", "divide", "4").exit_code == 0
    written = sorted(file.read_text().split()) if file.exists() else []
    assert written == (["RELAY_MAX_WAITERS=7", "RELAY_PARTITIONS=4"] if saved else [])


def test_a_store_is_divided_and_everything_is_found(cli, valkey):
    for plugin in ("acme", "globex", "initech"):
        cli.apply(a_webhook(), plugin=plugin)
    made = [trigger(cli, "--async")["referenceId"] for _ in range(3)]
    settle(cli, made[0])
    result = cli.run("partitions", "divide", "4")
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert (
        "The store has 4 partitions, and what it had before. Plugins: 3, records: 3, calls that are not final: 2."
        in said
    )
    assert "Start every process with RELAY_PARTITIONS=4." in said
    divided = Cli(cli.url, cli.directory, cli.keys | {"RELAY_PARTITIONS": "4"})
    assert divided.json("invocations", "show", made[0])["state"] == "delivered"
    rows = divided.json("partitions", "show")
    assert [sorted(row["plugins"]) for row in rows] == [
        sorted(each for each in ("acme", "globex", "initech") if Keyspace(4).partition_of(each) == number)
        for number in range(4)
    ]
    assert divided.json("partitions", "divide", "4") == {
        "partitions": 4,
        "plugins": 3,
        "records": 3,
        "pending": 2,
        "entries": divided_entries(valkey),
    }
    refused = divided.json("partitions", "divide", "8", exit_code=1)
    assert (refused["code"], "permanent" in refused["message"]) == ("conflict", True)


def divided_entries(valkey):
    with valkey.client() as client:
        return StoreCounts.read(client, Keyspace(4)).entries


def test_a_store_that_is_used_is_not_divided_and_the_command_says_by_whom(cli, valkey):
    cli.apply(a_webhook())
    Workers(cli.runtime().client).beat("bulk1@here", ["bulk"])
    result = cli.run("partitions", "divide", "4")
    assert result.exit_code == 1
    assert "Still running: worker bulk1@here. Stop every process" in " ".join(result.stderr.split())
    assert [row["id"] for row in cli.json("webhooks", "list", "--plugin", "acme")] == ["ping"]


@pytest.mark.parametrize("number", ["1", "101", "many"])
def test_a_number_of_partitions_that_there_cannot_be_is_refused(cli, number):
    assert cli.run("partitions", "divide", number).exit_code == 2


def keyspaces_in(part, place, seen):
    """Yield the keyspaces in a part of the relay, and in what that consists of, with their places."""
    if isinstance(part, Keyspace):
        yield place, part
    elif isinstance(part, list | tuple):
        for number, each in enumerate(part):
            yield from keyspaces_in(each, f"{place}[{number}]", seen)
    elif type(part).__module__.startswith("relay.") and id(part) not in seen:
        seen[id(part)] = part
        names = vars(part) if hasattr(part, "__dict__") else getattr(part, "__slots__", ())
        for name in tuple(names):
            yield from keyspaces_in(getattr(part, name, None), f"{place}.{name}", seen)


@pytest.mark.parametrize("away", [0, 1, 2])
def test_partitions_whose_servers_are_away_are_counted(cli, monkeypatch, away):
    states = [
        PartitionState(n, f"relay:{{{n}}}:", None if n < away else "127.0.0.1:1", ("acme",), 1, 2) for n in range(2)
    ]
    monkeypatch.setattr("relay.cli.partitions.partition_states", lambda *_: states)
    result = cli.run("partitions", "show")
    said = f"The servers of {away} of 2 partitions cannot be reached: calls of their plugins wait.\n"
    assert (result.exit_code, result.stderr) == (0, said if away else "")
    assert [line.split()[1] for line in result.stdout.splitlines()[-2:]] == ["away"] * away + ["127.0.0.1:1"] * (
        2 - away
    )


def test_a_worker_without_the_target_ring_does_not_start(cli):
    keys = {"RELAY_REDIS_URL": cli.url, "RELAY_DATA_KEYS": cli.keys["RELAY_DATA_KEYS"]}
    settings = Settings.from_environ(keys)
    with pytest.raises(SettingsError, match="give workers the target key ring"):
        worker_parts(settings, make_app(settings), "w1", ["bulk"])


@pytest.mark.parametrize("process", ["the API", "a worker"])
def test_every_part_of_a_process_knows_of_all_partitions(cli, process):
    settings = Settings.from_environ(cli.environ | {"RELAY_PARTITIONS": "4"})
    runtime = cli_runtime(settings)
    found = worker_parts(settings, make_app(settings), "w1", ["bulk"]) if process == "a worker" else runtime
    with closing(runtime), closing(found):
        for name in dir(type(found)):
            if not name.startswith("__"):
                getattr(found, name)  # parts that are built on first use
        known = dict(keyspaces_in([found, runtime.subscribe("api")], process, {}))
    assert len(known) > 20
    few = [place for place, keys in known.items() if keys.partitions != 4]
    assert [place for place in few if not place.endswith("ecisions._epochs._keys")] == [], (
        "decisions only read the epoch"
    )
    assert process != "a worker" or len(found.checkpointing) == 4 + 1, "a trail each, and the shared one"
