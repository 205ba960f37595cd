"""Copies a backup into an empty store, which is fenced before the first key is written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from relay.errors import BadParameter, Conflict
from relay.store.backups.copying import clear, copy_roots, counts_of, first_key, last_entry, roots_of
from relay.store.backups.epoch import Epoch, Epochs, Phase
from relay.store.keys.names import SHARED_ROOT, root_name
from relay.store.server.clock import time_ms_at
from relay.store.server.replicas import Replicas
from relay.up.alone import loaded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from relay.backup.manifest import Manifest
    from relay.store.keys.keyspace import Keyspace
    from relay.vault import Vault


class Restoring:
    """A restore: `begin`, go through `steps`, then `finish`. One that was stopped is begun again.

    Methods raise ``Unavailable`` while a server is away.
    """

    def __init__(self, client: redis.Redis, keys: Keyspace, vault: Vault, manifest: Manifest, folder: Path) -> None:
        self._client: Any = client
        self._keys = keys
        self._epochs = Epochs(client, vault, keys)
        self._replicas = Replicas(client)
        self._manifest = manifest
        self._folder = folder
        self._epoch = Epoch()
        self._roots = roots_of(range(keys.partitions), shared=True)

    def is_copied(self) -> bool:
        """Return whether this backup was copied, and its unfinished calls and replays are still to be decided about."""
        found = self._epochs.read()
        return bool(found.number) and (found.phase, found.backup) == (Phase.FENCED, self._manifest.backup)

    def begin(self) -> None:
        """Fence the store.

        Raises:
            BadParameter: the backup has another number of partitions.
            Conflict: the store is not empty, or another restore has begun at the same time.
        """
        if self._manifest.partitions != self._keys.partitions:
            raise BadParameter(
                f"The backup has {self._manifest.partitions} partitions: restore it with"
                f" RELAY_PARTITIONS={self._manifest.partitions} for every process and command."
            )
        found = self._epochs.read()
        is_repeated = found.phase is Phase.COPYING
        if not is_repeated:
            self._refuse_unless_empty()
        now_ms = time_ms_at(self._client, SHARED_ROOT)
        self._epoch = Epoch(
            max(now_ms, found.number + 1, self._manifest.epoch + 1), Phase.COPYING, self._manifest.backup
        )
        self._epochs.write(self._epoch)
        self._epochs.fence(self._epoch.number)
        if is_repeated:
            clear(self._client, self._roots, self._epoch.number)
            return
        try:
            self._refuse_unless_empty()  # something may have been accepted before the fence
        except Conflict:
            self._epochs.take_back(self._epoch.number)
            raise

    def steps(self) -> Iterator[int]:
        """Copy everything; yield how many keys each piece had. Raises ``Conflict``: another restore has begun since."""
        trails: dict[str, int] = {}
        for file in self._manifest.files:
            with loaded(self._folder / file.name, file.database) as source:
                roots = roots_of(file.partitions, shared=file.shared)
                yield from copy_roots(source, self._client, roots, self._epoch.number)
                for root in roots:
                    trails[root_name(root)] = last_entry(source, root)
                    self._replicas.confirm(root)
        self._epoch = replace(self._epoch, trails=trails)

    def finish(self) -> Epoch:
        """Compare the store with the manifest; return its epoch.

        Raises ``Conflict``: the counts differ, or another restore has begun since.
        """
        counts = counts_of(self._client, range(self._keys.partitions), shared=True)
        if counts != self._manifest.counts:
            raise Conflict(f"The store has {counts}, and the manifest {self._manifest.counts}: restore it again.")
        self._epoch = replace(self._epoch, phase=Phase.FENCED)
        self._epochs.go_on(self._epoch)
        return self._epoch

    def _refuse_unless_empty(self) -> None:
        name = first_key(self._client)
        if name is not None:
            raise Conflict(f"The store is not empty (`{name}`): a backup is restored into an empty one only.")
