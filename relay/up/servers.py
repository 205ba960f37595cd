"""The servers that ``relay up`` starts: one for everything, or a cluster for records and a server for the lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from relay.errors import SettingsError
from relay.settings import FILE_SUFFIX
from relay.settings.names import ADDRESSES, BROKER_URL, REDIS_URL, STORE_REPLICAS, STORE_URL
from relay.store.scripting.loading import renew
from relay.up import processes
from relay.up.access import ADMINISTRATOR, OPERATOR
from relay.up.cluster import REPLICAS, EmbeddedCluster
from relay.up.embedded import EmbeddedServer, server_environ

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from relay.up.child import Child
    from relay.up.datadir import DataDir
    from relay.up.processes import Process
    from relay.up.supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class EmbeddedServers:
    """The servers that a start runs itself: a single one, a cluster, both, or none."""

    single: EmbeddedServer | None
    cluster: EmbeddedCluster | None

    @classmethod
    def prepare(cls, directory: DataDir, fsync: str, given: MutableMapping[str, str], *, cluster: bool) -> Self:
        """Write the servers' files, and put their addresses for operators into the settings ``given``.

        Raises:
            SettingsError: the directory has records of the other kind, or the settings name servers already.
        """
        _refuse_the_other_kind(directory, cluster=cluster)
        if not cluster:
            if _has(given, REDIS_URL):
                return cls(None, None)
            single = EmbeddedServer.prepare(directory, fsync)
            given[REDIS_URL] = single.url(OPERATOR)
            return cls(single, None)
        for name in (REDIS_URL, STORE_URL):
            if _has(given, name):
                raise SettingsError(f"--cluster starts the servers of the records itself: leave {name} out.")
        lanes = None if _has(given, BROKER_URL) else EmbeddedServer.prepare(directory, fsync)
        if lanes is not None:
            given[BROKER_URL] = lanes.url(OPERATOR)
        several = EmbeddedCluster.prepare(directory, fsync)
        given[REDIS_URL] = several.url(OPERATOR)
        if not _has(given, STORE_REPLICAS):
            given[STORE_REPLICAS] = str(REPLICAS)
        return cls(lanes, several)

    def start(self, supervisor: Supervisor, child_of: Callable[[Process], Child]) -> None:
        """Start the servers, and return when they can be used; raise ``Unavailable`` if they do not start."""
        started, environ = [], server_environ()
        for server in filter(None, (self.single, *(self.cluster.servers if self.cluster else ()))):
            child = child_of(processes.Process(server.name, server.command, without=processes.SECRETS, extra=environ))
            supervisor.start(child, ends_last=True)
            started.append((server, child))

        def is_wanted() -> bool:
            return all(child.is_running() for _, child in started) and not supervisor.ending

        for server, _ in started:
            server.wait(is_wanted)
        if self.cluster:
            self.cluster.form(is_wanted)
            renew(self.cluster.url(ADMINISTRATOR))
        elif self.single:
            renew(self.single.url(ADMINISTRATOR))

    def addresses_for(self, process: Process, written: Mapping[str, str]) -> dict[str, str]:
        """Return the settings in ``written`` that address servers here for operators, for a process' users instead."""
        if process.user is None:
            return {}
        own = {each.url(OPERATOR): each for each in (self.single, self.cluster) if each is not None}
        users = {BROKER_URL: process.broker_user or process.user}
        return {
            name: own[written[name]].url(users.get(name, process.user))
            for name in ADDRESSES
            if written.get(name) in own
        }


def _refuse_the_other_kind(directory: DataDir, *, cluster: bool) -> None:
    """Raise ``SettingsError`` for records of the other kind: nothing moves them from a server to a cluster or back."""
    if directory.has_cluster() and not cluster:
        raise SettingsError("The data directory's records are in a cluster: use --cluster, or another --data-dir.")
    if cluster and directory.has_records() and not directory.has_cluster():
        raise SettingsError(
            "The data directory's records are on one server: leave --cluster out, or use another --data-dir."
        )


def _has(given: Mapping[str, str], name: str) -> bool:
    return bool(given.get(name) or given.get(name + FILE_SUFFIX))
