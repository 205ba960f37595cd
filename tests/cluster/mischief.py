"""Faults for a whole relay whose store is a cluster: in its processes, its broker, the cluster's servers and slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Unavailable
from relay.store.keys.keyspace import Keyspace
from relay.store.ledger.records import invocation_from
from relay.store.server.connection import client_of
from relay.store.server.replicas import on_primary
from tests.chaos.faults import Mischief
from tests.chaos.harness import Harness, wait_for
from tests.chaos.run import try_out
from tests.cluster.servers import cluster, wait_for_servers
from tests.cluster.slots import move_whole, slot_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from relay.domain.invocation import Invocation
    from tests.chaos.plan import Plan
    from tests.chaos.run import Outcome
    from tests.cluster.servers import ClusterServers

PARTITIONS = 16
ROUND_S = 180
#: The "server" is the broker here.
KINDS = {
    "worker killed": 2,
    "worker stalled beyond its lease": 1,
    "api killed": 1,
    "server killed": 1,
    "messages dropped": 2,
    "primary killed": 3,
    "primary frozen": 3,
    "primary hands over": 2,
    "slot moved": 3,
    "replica behind": 2,
}


class ClusterHarness(Harness):
    """A relay whose store is a cluster and waits for one replica; its broker is a separate server."""

    def __init__(self, servers: ClusterServers, *, bulk_workers: int = 2, beside: Path | None = None) -> None:
        settings = {"RELAY_STORE_URL": servers.url, "RELAY_STORE_REPLICAS": "1"}
        super().__init__(bulk_workers=bulk_workers, beside=beside, **settings)
        self.servers = servers
        self.client = client_of(servers.url, socket_timeout=5)
        self.keys = Keyspace(PARTITIONS)

    def kept_records(self, refs: Sequence[str]) -> dict[str, Invocation]:
        """Return records as a replica has them, too: a failover may undo what only the primary has written."""
        by_root: dict[str, list[str]] = {}
        for ref in refs:
            by_root.setdefault(self.keys.root_of_ref(ref), []).append(ref)
        found = {}
        for root, ours in by_root.items():
            names = [self.keys.of_ref("record", ref) for ref in ours]
            fields = on_primary(self.client, root, lambda server, root=root, names=names: _kept(server, root, names))
            records = zip(ours, names, fields, strict=True)
            found |= {ref: invocation_from(ref, name, each) for ref, name, each in records if each}
        return found

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.broker.close()


def _kept(server, root, names):
    """Return these hashes, once a replica has all that the server had written when it was asked."""
    pipeline = server.pipeline(transaction=False)
    for name in names:
        pipeline.hgetall(name)
    pipeline.set(f"{root}confirmed", 1)
    pipeline.execute_command("WAIT", 1, 1_000)
    *fields, _, confirmed = pipeline.execute()
    if not confirmed:
        raise Unavailable
    return fields


class ClusterMischief(Mischief):
    """Injects one fault after another, each kind at least once; first waits until each primary has a replica again."""

    def __init__(self, harness: ClusterHarness, plan: Plan) -> None:
        super().__init__(harness, plan)
        self.servers = harness.servers
        self.kinds = KINDS
        self._undone = set(KINDS)

    def stop(self) -> None:
        wait_for(lambda: self.failure or not self._undone, "the last kind of fault", within_s=ROUND_S)
        super().stop()

    def _do(self, kind: str, *, everywhere: bool = False) -> None:
        super()._do(kind, everywhere=everywhere)
        self._undone.discard(kind)

    def _any_primary(self) -> tuple[int, int]:
        """Return a random pair, and the number of the server that is its primary."""
        pair = self._random.randrange(self.servers.primaries)
        return pair, self.servers.primary_of(pair)

    def _wait_until_taken_over(self, pair: int, primary: int) -> None:
        other = 2 * pair + self.servers.primaries - primary
        wait_for_servers(lambda: self.servers.is_primary(other))

    def _wait_until_whole(self) -> None:
        wait_for_servers(self.servers.is_whole)

    def _primary_killed(self, _part):
        pair, primary = self._any_primary()
        self.servers.kill(primary)
        self._wait_until_taken_over(pair, primary)
        self.servers.restart(primary)
        self._wait_until_whole()

    def _primary_frozen(self, _part):
        pair, primary = self._any_primary()
        self.servers.freeze(primary)
        try:
            self._wait_until_taken_over(pair, primary)
        finally:
            self.servers.thaw(primary)
        self._wait_until_whole()

    def _replica_behind(self, _part):
        """Restart a replica without its last writes, and kill its primary before it has caught up."""
        pair, primary = self._any_primary()
        replica = 2 * pair + self.servers.primaries - primary
        self.servers.kill(replica)
        self.servers.lose_tail(replica)
        self.servers.kill(primary)
        self.servers.restart(replica)
        looking = self.servers.primary_of((pair + 1) % self.servers.primaries)
        wait_for_servers(lambda: self.servers.marks_failed(looking, primary))
        self.servers.restart(primary)
        self._wait_until_whole()

    def _primary_hands_over(self, _part):
        pair, primary = self._any_primary()
        with self.servers.node(2 * pair + self.servers.primaries - primary) as replica:
            replica.execute_command("CLUSTER FAILOVER")
        self._wait_until_taken_over(pair, primary)
        self._wait_until_whole()

    def _slot_moved(self, _part):
        slot = slot_of(self.harness.keys.root(self._random.choice(self.plan.plugins)))
        with self.servers.without_takeovers():
            wait_for_servers(lambda: self.servers.owner(slot) >= 0)  # all have heard of the last takeover
            target = self.servers.primary_of((self.servers.owner(slot) + 1) % self.servers.primaries)
            move_whole(self.servers, slot, target, lambda: None)
        self._wait_until_whole()


def perform_on_cluster(plan: Plan, beside: Path | None = None) -> Outcome:
    """Make a run as `tests.chaos.run.perform`, on a cluster of three primaries with a replica each."""
    with (
        cluster(3, replicas=1) as servers,
        ClusterHarness(servers, bulk_workers=plan.workers, beside=beside) as harness,
    ):
        return try_out(harness, plan, ClusterMischief(harness, plan))
