"""Loopback ports that are free, taken, or shared by processes."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from relay.errors import SettingsError
from relay.up import local, ports, processes
from relay.up.local import LaunchPlan, LocalRelay
from relay.up.ports import CAN_BE_SHARED, free_port, is_free, listeners_on


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
    found = {free_port() for _ in range(50)}
    assert all(10_000 <= port < first and is_free(port) for port in found)
    assert len(found) > 5


@pytest.mark.parametrize("said", ["", "?\n", "1024\t65535\n", "10000\t60999\n"])
def test_where_no_other_ports_are_known_the_system_chooses_a_free_one(clients, said):
    clients(said)
    assert is_free(free_port())


def test_where_all_others_are_taken_the_system_chooses_a_free_port(clients, monkeypatch):
    clients("10001\t60999\n")
    monkeypatch.setattr(ports, "is_free", lambda _port: False)
    assert free_port() != 10_000


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
