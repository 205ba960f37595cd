"""Loopback ports that are free, taken, or shared by processes."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from bench.ports import free_port
from relay.errors import SettingsError
from relay.up import local, ports, processes
from relay.up.datadir import DataDir
from relay.up.local import LaunchPlan, LocalRelay
from relay.up.ports import CAN_BE_SHARED, FreePorts, is_free, listeners_on

#: The names under which a data directory keeps ports.
SERVERS = ("valkey", "store1", "store1.bus", "demo")


@pytest.fixture
def clients(tmp_path, monkeypatch):
    """Fakes the system's range of ports for outgoing connections."""

    def say(text):
        (tmp_path / "range").write_text(text)
        monkeypatch.setattr(ports, "_CLIENTS", tmp_path / "range")

    return say


@pytest.mark.parametrize("first", [10_040, 20_000, 32_768])
def test_a_free_port_is_none_that_outgoing_connections_are_given(clients, first):
    clients(f"{first}\t60999\n")
    chosen = FreePorts()
    found = {chosen.choose() for _ in range(30)}
    assert all(10_000 <= port < first and is_free(port) for port in found)


@pytest.mark.parametrize("said", ["", "?\n", "1024\t65535\n", "10000\t60999\n"])
def test_where_no_other_ports_are_known_the_system_chooses_a_free_one(clients, said):
    clients(said)
    assert is_free(FreePorts().choose())


def test_where_all_others_are_taken_the_system_chooses_a_free_port(clients):
    clients("10001\t60999\n")
    chosen = FreePorts()
    chosen.take(10_000)
    assert chosen.choose() > 10_000


@pytest.mark.parametrize("range_of_clients", ["10010\t60999\n", "10002\t60999\n", ""])
def test_no_port_is_given_twice_though_nobody_listens_on_it_yet(clients, range_of_clients):
    clients(range_of_clients)
    chosen = FreePorts()
    assert len({chosen.choose() for _ in range(12)}) == 12


@pytest.mark.parametrize(
    "saved", [(), (10_000,) * 4, (10_000, 10_001, 10_002, 10_003), (10_003, 10_004, 10_005, 10_006)]
)
@pytest.mark.parametrize(("port", "flower_port"), [(0, 0), (10_003, 0), (0, 10_003), (10_003, 10_004)])
def test_the_processes_of_a_start_have_a_port_each(tmp_path, monkeypatch, clients, saved, port, flower_port):
    clients("10010\t60999\n")
    monkeypatch.setattr(ports, "is_free", lambda _port: True)
    earlier = DataDir.make(tmp_path / "d")
    earlier.write_environ({})
    for name, number in zip(SERVERS, saved, strict=False):
        earlier.write(f"{name}.port", f"{number}\n")
    directory = DataDir.make(tmp_path / "d")
    plan = local._with_ports(LaunchPlan(port=port, flower_port=flower_port), directory.ports)
    found = [plan.port, plan.flower_port, *(directory.port(name) for name in SERVERS)]
    assert len(set(found)) == len(found)
    assert [plan.port, plan.flower_port] == [port or plan.port, flower_port or plan.flower_port]
    assert [DataDir.make(tmp_path / "d").port(name) for name in SERVERS] == found[2:]


def test_one_port_for_two_processes_is_refused(tmp_path):
    port = free_port()
    with pytest.raises(SettingsError, match=f"Port {port} is taken: give another one with --flower-port"):
        LocalRelay.prepare(tmp_path / "d", LaunchPlan(port=port, flower_port=port))


@pytest.mark.skipif(not CAN_BE_SHARED, reason="processes share a port on Linux only")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_socket_that_listens_on_a_port_is_counted(count):
    port = free_port()
    assert listeners_on(port) == 0
    assert is_free(port)
    with ExitStack() as stack:
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))  # a connection is not a listener
        assert listeners_on(port) == count
        assert not is_free(port)


def test_api_processes_have_names_and_processors_of_their_own():
    found = [processes.api(number=number, cpu=3) for number in (1, 2, 3)]
    assert [(each.name, each.extra) for each in found] == [
        ("api", {"RELAY_API_CPU": "3"}),
        ("api2", {"RELAY_API_CPU": "4"}),
        ("api3", {"RELAY_API_CPU": "5"}),
    ]
    assert len({each.command for each in found}) == 1
    assert processes.api(number=2).extra == {}


def test_several_api_processes_are_refused_where_ports_cannot_be_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "CAN_BE_SHARED", False)
    with pytest.raises(SettingsError, match="leave --api out"):
        LocalRelay.prepare(tmp_path / "d", LaunchPlan(api=2))
    assert not (tmp_path / "d").exists()
