"""The chains of decisions of all roots, as one process knows them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from relay.errors import Conflict
from relay.store.backups.epoch import Epochs
from relay.store.decisions.decisions import Decisions
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.partitions.reachable import roots_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from redis import Redis

    from relay.vault import Vault


class EveryDecision:
    """The chains of all roots: one for each partition, and the shared one."""

    def __init__(self, client: Redis, vault: Vault, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._epochs = Epochs(client, vault)
        self._by_root = {root: Decisions(client, vault, root) for root in roots_of(keys)}

    @property
    def shared(self) -> Decisions:
        """The chain about API keys."""
        return self._by_root[SHARED_ROOT]

    def of(self, plugin: str) -> Decisions:
        """Return the chain about a plugin's webhooks."""
        return self._by_root[self._keys.root(plugin)]

    def reseal(self, *, give_up: bool = False) -> None:
        """Remake the MACs of all chains, and that of the store's epoch, with the newest key of the ring.

        Raises `Conflict`, after all others are done, for a chain with entries that fail verification; with ``give_up``
        they are dropped instead.
        """
        refused: list[Conflict] = []
        for chain in self:
            try:
                chain.reseal(give_up=give_up)
            except Conflict as error:
                refused.append(error)
        self._epochs.reseal()
        if refused:
            raise refused[0]

    def paused(self, webhooks: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of these webhooks, each with its plugin first, that decisions have paused."""
        asked = set(webhooks)
        found = set()
        for chain in {self.of(plugin) for plugin, _ in asked}:
            chain.refresh(math.inf)  # only if it was never read
            if asked & chain.paused:
                chain.refresh()  # one of them may have been resumed since
            found |= asked & chain.paused
        return found

    def __len__(self) -> int:
        return len(self._by_root)

    def __iter__(self) -> Iterator[Decisions]:
        return iter(self._by_root.values())
