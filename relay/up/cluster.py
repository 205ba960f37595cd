"""The cluster of ``relay up --cluster``: three primaries and a replica of each on loopback, one process each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.store.server.cluster import ClusterSeat, Forming
from relay.text.hosts import LOOPBACK
from relay.up import access
from relay.up.embedded import ADMIN_URL_FILE, EmbeddedServer, configuration, find_program, made_passwords
from relay.up.server_options import CLUSTER, lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.up.datadir import DataDir

PRIMARIES: Final = 3
SERVERS: Final = 2 * PRIMARIES
#: Every primary has one replica, which must confirm a write before it counts.
REPLICAS: Final = 1
_OWN: Final = """\
cluster-config-file nodes.conf
cluster-port {bus_port}
masteruser {administrator}
masterauth {password}
"""


@dataclass(frozen=True, slots=True)
class EmbeddedCluster:
    """The servers of a cluster. The first three began as primaries; all know the users of ``passwords``."""

    servers: tuple[EmbeddedServer, ...]
    bus_ports: tuple[int, ...]
    passwords: Mapping[str, str]

    @classmethod
    def prepare(cls, directory: DataDir, fsync: str) -> EmbeddedCluster:
        """Write the configurations and ``admin.url``; keep data, passwords and, if free, ports of the last start."""
        program, passwords = find_program(), made_passwords(directory)
        servers, bus_ports = [], []
        for number in range(1, SERVERS + 1):
            name = f"store{number}"
            port, bus_port = directory.port(name), directory.port(f"{name}.bus")
            folder = directory.make_folder(directory.cluster / name)
            text = configuration(folder, port=port, fsync=fsync) + access.rules(passwords)
            own = _OWN.format(
                bus_port=bus_port, administrator=access.ADMINISTRATOR, password=passwords[access.ADMINISTRATOR]
            )
            directory.write(f"{name}.conf", text + lines(CLUSTER) + own)
            command = (program, str(directory.path / f"{name}.conf"))
            servers.append(EmbeddedServer(command, port, passwords, name))
            bus_ports.append(bus_port)
        cluster = cls(tuple(servers), tuple(bus_ports), passwords)
        directory.write(ADMIN_URL_FILE, cluster.url(access.ADMINISTRATOR) + "\n")
        return cluster

    def url(self, user: str) -> str:
        """Return the address of the cluster for one of its users, password included."""
        hosts = ",".join(f"{LOOPBACK}:{server.port}" for server in self.servers)
        return f"redis+cluster://{user}:{self.passwords[user]}@{hosts}"

    def form(self, is_wanted: Callable[[], bool]) -> None:
        """Form the cluster unless it was formed before, and wait until it serves; raise as `Forming.finish`."""
        seats = [
            ClusterSeat(server.url(access.ADMINISTRATOR), LOOPBACK, server.port, bus_port)
            for server, bus_port in zip(self.servers, self.bus_ports, strict=True)
        ]
        Forming(seats, PRIMARIES).finish(is_wanted)
