"""Forming a cluster of servers: the process that forms it may be killed after any command to a server."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from bench.ports import free_port
from relay.errors import Conflict
from relay.store.server.cluster import ClusterSeat, Forming
from relay.up import members
from relay.up.server_options import CLUSTER
from tests.cluster.servers import ClusterServers
from tests.conftest import start_valkey

COUNT, PRIMARIES = 6, 3
CHANGING = {"CLUSTER MEET", "CLUSTER ADDSLOTSRANGE", "CLUSTER REPLICATE"}


class Killed(BaseException):
    """Simulates kill -9 of the process that forms the cluster."""


@pytest.fixture(scope="module")
def servers():
    """Six servers that do not know of each other."""
    with tempfile.TemporaryDirectory(prefix="rlf") as directory:
        found = ClusterServers(PRIMARIES, Path(directory))
        try:
            for number in range(COUNT):
                home = found.directory / str(number)
                home.mkdir()
                bus = {"cluster-port": str(free_port()), "user": "admin on >secret ~* &* +@all"}
                found.servers.append(start_valkey(home, **CLUSTER, **bus))
            yield found
        finally:
            found.stop()


@pytest.fixture
def strangers(servers):
    for number in range(COUNT):
        with servers.node(number) as node:
            node.flushall() if node.info("replication")["role"] == "master" else None
            node.execute_command("CLUSTER RESET HARD")
    return servers


@pytest.fixture
def seats(strangers):
    """The servers as their administrator describes them; their bus ports are not the default ones."""
    found = []
    for number, server in enumerate(strangers.servers):
        with strangers.node(number) as node:
            bus = int(node.config_get("cluster-port")["cluster-port"])
        found.append(ClusterSeat(f"redis://admin:secret@127.0.0.1:{server.port}/0", "127.0.0.1", server.port, bus))
    return found


def killed_after(monkeypatch, changes):
    """Kill the forming process after this many commands that change a server."""
    execute, left = redis.Redis.execute_command, [changes]

    def counting(client, *args, **options):
        reply = execute(client, *args, **options)
        left[0] -= args[0] in CHANGING
        if left[0] <= 0:
            raise Killed
        return reply

    monkeypatch.setattr(redis.Redis, "execute_command", counting)


def unheard_of(monkeypatch):
    """Make each server ignorant of which primary another server follows, and which slots it has."""
    execute = redis.Redis.execute_command

    def without_news(client, *args, **options):
        reply = execute(client, *args, **options)
        if args[0] == "CLUSTER NODES":
            for node in reply.values():
                if "myself" not in node["flags"]:
                    node |= {"flags": node["flags"].replace("slave", "master"), "master_id": "-", "slots": []}
        return reply

    monkeypatch.setattr(redis.Redis, "execute_command", without_news)


def is_formed(servers):
    roles = [servers.is_primary(number) for number in range(COUNT)]
    states = [servers.state(number) for number in range(COUNT)]
    followed = []
    for number in range(PRIMARIES):
        with servers.node(number) as node:
            followed.append(node.info("replication")["connected_slaves"])
    return (
        roles == [True] * 3 + [False] * 3
        and followed == [1, 1, 1]
        and all((state["cluster_state"], int(state["cluster_slots_assigned"])) == ("ok", 16_384) for state in states)
    )


@pytest.mark.parametrize("changes", [1, 4, 6, 7, 9, 10])
def test_a_cluster_that_is_half_made_is_made_by_whoever_comes_next(strangers, seats, monkeypatch, changes):
    """Five introductions, three shares of slots, three replicas; some may be told more than once."""
    with monkeypatch.context() as patch:
        killed_after(patch, changes)
        with pytest.raises(Killed):
            Forming(seats, PRIMARIES).finish(lambda: True)
    assert not is_formed(strangers)
    Forming(seats, PRIMARIES).finish(lambda: True)
    assert is_formed(strangers)


@pytest.mark.parametrize("changes", [9, 10])
def test_each_primary_has_a_replica_although_servers_have_not_heard_whom_others_follow(
    strangers, seats, monkeypatch, changes
):
    with monkeypatch.context() as patch:
        killed_after(patch, changes)
        with pytest.raises(Killed):
            Forming(seats, PRIMARIES).finish(lambda: True)
    with monkeypatch.context() as patch:
        unheard_of(patch)
        Forming(seats, PRIMARIES).finish(lambda: True, within_s=30)
    assert is_formed(strangers)


def test_a_maker_that_is_killed_again_and_again_comes_to_an_end(strangers, seats, monkeypatch):
    """Each time a little later: what was done before is found done."""
    for changes in range(1, 40):
        with monkeypatch.context() as patch:
            killed_after(patch, changes)
            try:
                Forming(seats, PRIMARIES).finish(lambda: True)
                break
            except Killed:
                pass
    assert changes > 2
    assert is_formed(strangers)


def test_the_command_of_the_job_makes_a_cluster_and_leaves_one_that_is_whole(strangers, seats, monkeypatch):
    buses = {seat.port: seat.bus_port for seat in seats}
    monkeypatch.setattr(members, "_seat", lambda server, password: own_seat(server, password, buses))
    given = {
        "SERVERS": " ".join(f"localhost:{seat.port}" for seat in seats),
        "REPLICAS": "1",
        "ADMIN_PASSWORD": "secret",
    }
    for _ in range(2):
        result = CliRunner().invoke(members.form, env=given)
        assert result.exit_code == 0, result.output
        assert is_formed(strangers)
    assert CliRunner().invoke(members.form, env=given | {"REPLICAS": "3"}).exit_code == 2


def test_servers_of_another_cluster_are_refused_and_nobody_is_introduced_to_them(strangers, seats):
    Forming(seats[:3], 3).finish(lambda: True)
    for some in (seats[1:], seats[2:]):
        with pytest.raises(Conflict, match="which was not given"):
            Forming(some, 3).finish(lambda: True)
    assert [int(strangers.state(number)["cluster_known_nodes"]) for number in range(COUNT)] == [3, 3, 3, 1, 1, 1]


def test_servers_that_know_each_other_are_not_introduced_again(strangers, seats, monkeypatch):
    Forming(seats[:3], 3).finish(lambda: True)
    for number in range(3):
        with strangers.node(number) as node:
            node.execute_command("CLUSTER FLUSHSLOTS")
    execute, sent = redis.Redis.execute_command, []
    monkeypatch.setattr(
        redis.Redis, "execute_command", lambda *args, **options: sent.append(args[1]) or execute(*args, **options)
    )
    Forming(seats[:3], 3).finish(lambda: True)
    assert CHANGING & set(sent) == {"CLUSTER ADDSLOTSRANGE"}


@pytest.mark.parametrize("server", ["localhost", "localhost:", ":6379", "localhost:http", "localhost:٦"])
def test_a_server_without_host_and_port_is_refused(server):
    result = CliRunner().invoke(members.form, [server, "--replicas", "0", "--password", "secret"])
    assert (result.exit_code, "is not HOST:PORT" in result.output) == (2, True)


def own_seat(server, password, buses):
    host, port = server.split(":")
    return ClusterSeat(f"redis://admin:{password}@{server}/0", host, int(port), buses[int(port)])


def test_a_cluster_that_does_not_come_about_is_an_error(strangers):
    given = {
        "SERVERS": " ".join(f"127.0.0.1:{server.port}" for server in strangers.servers[:2]),
        "ADMIN_PASSWORD": "wrong",
    }
    result = CliRunner().invoke(members.form, ["--within", "0.5"], env=given)
    assert result.exit_code == 1
    assert "did not form" in result.output
