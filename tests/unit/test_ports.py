"""Loopback ports that are free, taken, or shared by processes."""

from __future__ import annotations

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import cycle

import pytest

from bench.ports import free_port
from relay.errors import SettingsError
from relay.up import local, ports, processes
from relay.up.datadir import DataDir
from relay.up.local import LaunchPlan, LocalRelay
from relay.up.ports import CAN_BE_SHARED, FreePorts, listeners_on
from tests.timing import BUSY_S

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
def test_a_free_port_is_outside_of_the_range_of_outgoing_connections(clients, first):
    clients(f"{first}\t60999\n")
    chosen = FreePorts()
    found = {chosen.choose() for _ in range(30)}
    assert all(10_000 <= port < first for port in found)


@pytest.mark.parametrize("said", ["", "?\n", "1024\t65535\n", "10000\t60999\n"])
def test_where_no_other_ports_are_known_the_system_chooses_a_free_one(clients, said):
    clients(said)
    with HTTPServer(("127.0.0.1", FreePorts().choose()), BaseHTTPRequestHandler):
        pass


def test_where_all_others_are_taken_the_system_chooses_a_free_port(clients):
    clients("10001\t60999\n")
    chosen = FreePorts()
    chosen.take(10_000)
    assert chosen.choose() > 10_000


@pytest.fixture
def favourites(monkeypatch):
    """Ports that nobody has; whoever chooses one tries these first, again and again."""
    several = FreePorts()
    found = [several.choose() for _ in range(7)]
    tries = cycle(port - 10_000 for port in found)
    monkeypatch.setattr(ports.secrets, "randbelow", lambda _below: next(tries))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="ports are held on Linux only")
def test_a_port_that_is_yet_to_be_listened_on_is_given_once_by_whoever_chooses(favourites):
    first, second = FreePorts(), FreePorts()
    found = [chosen.choose() for chosen in (first, second, first, second) for _ in range(3)]
    assert len(set(found)) == len(found)
    assert set(favourites) < set(found)


@pytest.mark.skipif(sys.platform != "linux", reason="ports are held on Linux only")
def test_only_the_latest_ports_are_held(favourites):
    chosen = FreePorts()
    first = chosen.choose()
    for _ in range(ports._MOST_HELD - 1):
        chosen.choose()
    assert FreePorts().choose() != first
    chosen.choose()
    assert first in {FreePorts().choose() for _ in favourites}


#: Ports that a start is given or has saved, by their place in ``favourites``.
@pytest.mark.parametrize("saved", [(), (0,) * 4, (0, 1, 2, 3), (3, 4, 5, 6)])
@pytest.mark.parametrize("given", [(None, None), (3, None), (None, 3), (3, 4)])
def test_the_processes_of_a_start_have_a_port_each(tmp_path, favourites, saved, given):
    earlier = DataDir.make(tmp_path / "d")
    earlier.write_environ({})
    for name, place in zip(SERVERS, saved, strict=False):
        earlier.write(f"{name}.port", f"{favourites[place]}\n")
    port, flower_port = (0 if place is None else favourites[place] for place in given)
    directory = DataDir.make(tmp_path / "d")
    plan = local._with_ports(LaunchPlan(port=port, flower_port=flower_port), directory.ports)
    found = [plan.port, plan.flower_port, *(directory.port(name) for name in SERVERS)]
    assert len(set(found)) == len(found)
    assert [plan.port, plan.flower_port] == [port or plan.port, flower_port or plan.flower_port]
    assert [DataDir.make(tmp_path / "d").port(name) for name in SERVERS] == found[2:]


def test_a_saved_port_that_is_none_is_replaced(tmp_path):
    (tmp_path / "d").mkdir(mode=0o700)
    directory = DataDir.make(tmp_path / "d")
    directory.write_environ({})
    name = SERVERS[0]
    directory.write(f"{name}.port", "65536\n")
    assert 0 < DataDir.make(tmp_path / "d").port(name) < 65536


def test_where_no_port_can_be_listened_on_that_is_said(monkeypatch):
    monkeypatch.setattr(ports, "LOOPBACK", "192.0.2.1")  # not an address of this machine (RFC 5737)
    with pytest.raises(SettingsError, match="loopback interface"):
        FreePorts().choose()


def test_one_port_for_two_processes_is_refused(tmp_path):
    port = free_port()
    with pytest.raises(SettingsError, match=f"--port and --flower-port are both {port}"):
        LocalRelay.prepare(tmp_path / "d", LaunchPlan(port=port, flower_port=port))


@pytest.mark.parametrize(("option", "name"), [("--port", "port"), ("--flower-port", "flower_port")])
def test_a_port_on_which_something_listens_is_refused_with_the_option_that_gave_it(tmp_path, option, name):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        plan = LaunchPlan(**{"port": 0, "flower_port": 0, name: port})
        with pytest.raises(SettingsError, match=f"Port {port} is taken: give another one with {option} "):
            LocalRelay.prepare(tmp_path / "d", plan)
    assert not (tmp_path / "d" / "relay.env").exists()


@pytest.mark.skipif(not CAN_BE_SHARED, reason="processes share a port on Linux only")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_socket_that_listens_on_a_port_is_counted(count):
    port = free_port()
    assert listeners_on(port) == 0
    with ExitStack() as stack:
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))  # a connection is not a listener
        assert listeners_on(port) == count
        assert not FreePorts().take(port)


@pytest.mark.parametrize(
    ("answer", "is_well"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH_9.6\r\n", False),
        (b"", False),
        (None, False),
    ],
)
def test_a_process_is_well_only_if_it_answers_its_probe_in_time(monkeypatch, answer, is_well):
    monkeypatch.setattr(local, "_PROBE_S", BUSY_S if answer is not None else 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool, ExitStack() as stack:

        def serve():
            caller = stack.enter_context(server.accept()[0])
            if answer is not None and caller.recv(1024):
                caller.sendall(answer)
                caller.shutdown(socket.SHUT_WR)

        pool.submit(serve)
        assert local._is_ok(f"http://127.0.0.1:{server.getsockname()[1]}/readyz") is is_well


def test_a_process_that_nobody_reaches_is_not_well():
    assert not local._is_ok(f"http://127.0.0.1:{free_port()}/readyz")


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
