"""Keeps the epoch of a store, which is new after each restore, and the fence of a store that is being restored.

A restored store is older than what processes remember of it, and so is one that an attacker has put back. What proves a
restore is the key ring: the number of the epoch has a MAC. The number is the time of the restore, so that no two
restores share one, even of the same backup.

The fence is a field that every partition's scripts read (`relay.store.scripting.library`): while it is there they
accept, send and end nothing. Its value is the number of the epoch, so that with each piece that a restore writes, it
checks that no other restore has begun since (`write_in_epoch`).
"""

from __future__ import annotations

import hmac
import json
import operator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Conflict, Unavailable
from relay.store.keys import keyspace
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import SHARED_ROOT, key_in, partition_root
from relay.store.scripting.scripts import Scripts
from relay.store.server.connection import client_of
from relay.store.server.errors import FENCED_SENTENCE, store_errors
from relay.store.server.fields import StoredFields, number_of
from relay.store.server.replicas import Replicas, on_primary
from relay.store.server.replies import replies_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import redis

    from relay.vault import Vault

_PURPOSE: Final = b"epoch of a restored store"
#: The field of a partition's `pending` that is there while it is fenced.
FENCE: Final = "fence"


class Phase(StrEnum):
    """How far a restore has come."""

    NONE = ""  # the store was never restored
    COPYING = "copying"
    FENCED = "fenced"  # everything is copied; the operator decides
    DECIDING = "deciding"  # calls that were not final at the time of the backup are being ended, or continue
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Epoch:
    """The epoch of a store; its number is 0 if the store was never restored, or no key of the ring vouches for it."""

    number: int = 0
    phase: Phase = Phase.NONE
    backup: str = ""  # the id of the backup
    trails: Mapping[str, int] = field(default_factory=dict)  # by audit trail, the number of its last entry then

    @property
    def is_fenced(self) -> bool:
        """Whether nothing is accepted or sent."""
        return self.phase not in {Phase.NONE, Phase.FINISHED}


def is_fenced(url: str) -> bool:
    """Return whether the store at an address is fenced. Raises `Unavailable` while it is away."""
    with store_errors(), client_of(url) as client:
        return is_fenced_on(client)


def is_fenced_on(client: Any) -> bool:
    """Return whether the store of a client is fenced."""
    return client.hget(keyspace.shared("epoch"), "phase") not in {None, b"", Phase.FINISHED.encode()}


def write_in_epoch(
    server: Any,
    root: str,
    number: int,
    commands: Iterable[Sequence[Any]],
    compare: Callable[[int, int], bool] = operator.eq,
) -> None:
    """Run commands on a root's keys in one step, if the number of its epoch or fence is still this one.

    Raises ``Conflict``: another restore has begun, or has ended.
    """
    key, field_name = (keyspace.shared("epoch"), "number") if root == SHARED_ROOT else (key_in(root, "pending"), FENCE)
    with server.pipeline(transaction=True) as pipeline:
        pipeline.watch(key)
        found = pipeline.hget(key, field_name) or b"0"
        if not (found.isdigit() and compare(int(found), number)):
            raise Conflict("Another restore has begun since: this one ends.")
        pipeline.multi()
        for command in commands:
            pipeline.execute_command(*command)
        pipeline.execute()


class Epochs:
    """The epoch of one store, read anew for each call. Methods raise `Unavailable` while a server is away."""

    def __init__(self, client: redis.Redis, vault: Vault, keys: Keyspace = SINGLE) -> None:
        self._client: Any = client
        self._vault = vault
        self._keys = keys
        self._scripts = Scripts(client)
        self._replicas = Replicas(client)

    def read(self) -> Epoch:
        """Read the epoch."""
        key = keyspace.shared("epoch")
        (row,) = replies_to(self._client, [("HGETALL", key)])
        if not row:
            return Epoch()
        stored = StoredFields(key, row)
        number, backup = stored.text("number") or "", stored.text("backup") or ""
        mac = (stored.text("mac") or "").encode()
        known = any(hmac.compare_digest(mac, each.encode()) for each in self._macs(number, backup))
        return Epoch(
            int(number) if known else 0,
            stored.needed("phase", Phase) or Phase.FENCED,
            backup,
            stored.json("trails", _numbers) or {},
        )

    def write(self, epoch: Epoch) -> None:
        """Write an epoch, with a MAC under the newest key of the ring."""
        self._scripts.write(SHARED_ROOT, *self._writing(epoch))

    def go_on(self, epoch: Epoch) -> None:
        """Write how far a restore has come. Raises ``Conflict``: another restore has begun since."""
        self._write(SHARED_ROOT, epoch.number, self._writing(epoch))

    def reseal(self) -> None:
        """Write the epoch again, with a MAC under the newest key of the ring, if any key of the ring vouches for it."""
        epoch = self.read()
        if epoch.number:
            self.write(epoch)

    def take_back(self, number: int) -> None:
        """Open a store that nothing was copied into after all.

        Raises ``Conflict``: another restore has begun since.
        """
        for each in range(self._keys.partitions):
            self._write(partition_root(each), number, ("HDEL", key_in(partition_root(each), "pending"), FENCE))
        self._write(SHARED_ROOT, number, ("DEL", keyspace.shared("epoch")))

    def check(self) -> None:
        """Raise `Unavailable`, with the reason, while the store is fenced."""
        if self.read().is_fenced:
            raise Unavailable(FENCED_SENTENCE)

    def fence(self, number: int) -> None:
        """Fence every partition. Raises ``Conflict``: a later restore has fenced it."""
        for each in range(self._keys.partitions):
            command = "HSET", key_in(partition_root(each), "pending"), FENCE, number
            self._write(partition_root(each), number, command, operator.le)

    def open(self, partition: int) -> None:
        """Remove one partition's fence."""
        self._scripts.write(partition_root(partition), "HDEL", key_in(partition_root(partition), "pending"), FENCE)

    def fenced_partitions(self) -> list[int]:
        """Return the numbers of the partitions that are fenced."""
        with store_errors():
            return [
                number
                for number in range(self._keys.partitions)
                if self._client.hexists(key_in(partition_root(number), "pending"), FENCE)
            ]

    def _write(
        self, root: str, number: int, command: Sequence[Any], compare: Callable[[int, int], bool] = operator.eq
    ) -> None:
        with store_errors():
            on_primary(self._client, root, lambda server: write_in_epoch(server, root, number, [command], compare))
        self._replicas.confirm(root)

    def _writing(self, epoch: Epoch) -> list[str]:
        """Return the command that writes an epoch."""
        number = str(epoch.number)
        fields = {"number": number, "phase": epoch.phase, "backup": epoch.backup, "trails": json.dumps(epoch.trails)}
        fields["mac"] = self._macs(number, epoch.backup)[0]
        return ["HSET", keyspace.shared("epoch"), *(part for pair in fields.items() for part in pair)]

    def _macs(self, number: str, backup: str) -> tuple[str, ...]:
        return self._vault.macs(_PURPOSE, number.encode(), backup.encode())


def _numbers(trails: Mapping[str, int]) -> dict[str, int]:
    return {trail: number_of(number) for trail, number in trails.items()}
