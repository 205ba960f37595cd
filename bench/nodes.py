"""Servers of a cluster on loopback, with the settings of ``relay up``, and the processor time of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis

from bench.children import Children, clean_environment
from bench.ports import free_port
from relay.store.connection import client_of
from relay.store.forming import ClusterSeat, Forming
from relay.up.embedded import ENVIRON, configuration, find_program

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.rounds import Fsync

HOST: Final = "127.0.0.1"
START_S: Final = 20.0
_OWN: Final = """\
cluster-enabled yes
cluster-port {bus_port}
cluster-node-timeout {timeout_ms}
repl-diskless-sync-delay 0
"""


class Nodes:
    """A cluster that has formed: the primaries first, then their replicas."""

    def __init__(
        self, children: Children, folder: Path, *, primaries: int, replicas: int = 0, fsync: Fsync = "everysec",
        timeout_ms: int = 15_000,
    ) -> None:  # fmt: skip
        self.clients: list[redis.Redis] = []
        seats = []
        for number in range(primaries * (1 + replicas)):
            port, bus_port = free_port(), free_port()
            data = folder / f"node{number}"
            data.mkdir(parents=True)
            config = data / "server.conf"
            own = _OWN.format(bus_port=bus_port, timeout_ms=timeout_ms)
            config.write_text(configuration(data, port=port, fsync=fsync) + own, "utf-8")
            children.start(f"server{number}", [find_program(), str(config)], {**clean_environment(), **ENVIRON})
            self.clients.append(redis.Redis(HOST, port))
            children.wait_until("the server", lambda client=self.clients[-1]: _answers(client), START_S)  # type: ignore[misc]
            seats.append(ClusterSeat(f"redis://{HOST}:{port}", HOST, port, bus_port))
        Forming(seats, primaries).finish(lambda: True)
        self.primaries = self.clients[:primaries]
        hosts = ",".join(f"{HOST}:{seat.port}" for seat in seats)
        self.client = client_of(f"redis+cluster://{hosts}", socket_timeout=30)

    def cpu_us(self, of: Iterable[redis.Redis] | None = None) -> float:
        """Return microseconds of processor that servers (by default all primaries) have used since they started."""
        return sum(cpu_us(client) for client in (self.primaries if of is None else of))


def cpu_us(client: Any) -> float:
    """Return microseconds of processor that a server has used since it started."""
    used = client.info("cpu")
    return 1e6 * float(used["used_cpu_user"] + used["used_cpu_sys"])


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
