"""Forms a cluster from servers, and repairs one: introduces the servers, assigns slots, assigns replicas.

Each step starts from the servers' present state, so that it may be stopped and repeated at any point. A server that
was away rejoins by itself, because it remembers the others in a file; it has to be introduced again only if ports
have changed.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from socket import gethostbyname
from typing import TYPE_CHECKING, Any, Final

import redis

from relay.errors import Conflict, Unavailable
from relay.store.server.connection import client_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SLOTS: Final = 16_384
_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.1
_FORMED_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class ClusterSeat:
    """A server of a cluster: its administrator's address, where it listens, and the port of the cluster bus."""

    url: str
    host: str
    port: int
    bus_port: int


class Forming:
    """Forms one cluster from servers that belong to no other. The first ``primaries`` of them get the slots."""

    def __init__(self, seats: Sequence[ClusterSeat], primaries: int) -> None:
        self._seats = seats
        self._primaries = primaries

    def finish(self, is_wanted: Callable[[], bool], within_s: float = _FORMED_S) -> None:
        """Wait until the cluster serves, and every other server follows a primary.

        Raises:
            Conflict: one of the servers knows a server that is not among them.
            Unavailable: it takes longer than ``within_s``, or ``is_wanted`` says no.
        """
        deadline_s = time.monotonic() + within_s
        with ExitStack() as stack:
            clients = [stack.enter_context(_client(seat.url)) for seat in self._seats]
            while not self._step(clients):
                if not is_wanted() or time.monotonic() > deadline_s:
                    raise Unavailable("The cluster did not form: the logs of its servers say why.")
                time.sleep(_POLL_S)

    def _step(self, clients: Sequence[Any]) -> bool:
        """Do what can be done now; return whether nothing was left to do."""
        try:
            return self._introduced(clients) and self._divided(clients) and self._followed(clients)
        except (redis.RedisError, OSError):  # a server is starting, has no name yet, or does not know another yet
            return False

    def _introduced(self, clients: Sequence[Any]) -> bool:
        """Introduce the servers that the first one does not reach, or that know nobody; return whether there were none.

        No others are introduced: a server that already knows them counts them twice for a moment.
        """
        states = [client.execute_command("CLUSTER INFO") for client in clients]
        known = [int(state["cluster_known_nodes"]) for state in states]
        all_known = all(count == len(clients) for count in known)
        if all_known and _serve(states):
            return True
        ids = [client.execute_command("CLUSTER MYID").decode() for client in clients]
        _refuse_strangers(clients, ids)
        nodes = clients[0].execute_command("CLUSTER NODES").values()
        reached = {node["node_id"] for node in nodes if node["connected"]}
        others = zip(self._seats[1:], ids[1:], known[1:], strict=True)
        missing = [seat for seat, name, count in others if name not in reached or count == 1]
        for seat in missing:
            clients[0].execute_command("CLUSTER MEET", gethostbyname(seat.host), seat.port, seat.bus_port)
        return all_known and not missing

    def _divided(self, clients: Sequence[Any]) -> bool:
        """Give the unassigned slots to the first servers, in equal parts."""
        state = clients[0].execute_command("CLUSTER INFO")
        if int(state["cluster_slots_assigned"]) == SLOTS:
            return True
        for number, client in enumerate(clients[: self._primaries]):
            first, end = (SLOTS * each // self._primaries for each in (number, number + 1))
            with suppress(redis.ResponseError):  # they may have been assigned already, by an earlier step
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        return False

    def _followed(self, clients: Sequence[Any]) -> bool:
        """Make servers without slots follow the primary that has the fewest replicas; return whether all do."""
        nodes = [_own_entry(client) for client in clients]
        followed = Counter(node["master_id"] for node in nodes)
        primaries = [node["node_id"] for node in nodes if node["slots"]]
        for client, node in zip(clients, nodes, strict=True):
            if not node["slots"] and "master" in node["flags"]:
                primary = min(primaries, key=lambda each: followed[each])
                client.execute_command("CLUSTER REPLICATE", primary)
                followed[primary] += 1
        infos = [client.info("replication") for client in clients]
        follow = [info for info in infos if info["role"] != "master"]
        return (
            _serve([client.execute_command("CLUSTER INFO") for client in clients])
            and len(follow) == len(clients) - self._primaries
            and all(info["master_link_status"] == "up" for info in follow)
        )


def _refuse_strangers(clients: Sequence[Any], ids: Sequence[str]) -> None:
    """Raise `Conflict` for servers of another cluster: introducing them would join the two clusters."""
    for client in clients:
        for address, node in client.execute_command("CLUSTER NODES").items():
            if "handshake" not in node["flags"] and node["node_id"] not in ids:
                raise Conflict(
                    f"A server is already connected to {address}, which was not given: it may be in another cluster."
                )


def _own_entry(client: Any) -> dict[str, Any]:
    """Return a server's entry in its own list of nodes; the entries that others have for it may be old."""
    return next(node for node in client.execute_command("CLUSTER NODES").values() if "myself" in node["flags"])


def _serve(states: Sequence[dict[str, str]]) -> bool:
    return all(state["cluster_state"] == "ok" and int(state["cluster_slots_assigned"]) == SLOTS for state in states)


def _client(url: str) -> redis.Redis:
    return client_of(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
