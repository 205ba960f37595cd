"""Keeps the list of revoked API keys: it only grows, and a MAC binds each entry to those before it.

Somebody who can write to the server can add entries, and so revoke keys, as he could by deleting them. He cannot remove
an entry unnoticed: processes remember what they have read, and each key's record says how many entries there were when
it was written. A restored store has fewer, and a new epoch, which only the key ring makes.
"""

from __future__ import annotations

import hmac
import threading
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Conflict
from relay.store.backups.epoch import Epochs
from relay.store.keys import keyspace
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import store_errors

if TYPE_CHECKING:
    from redis import Redis

    from relay.audit.entry import AuditEntry
    from relay.vault import Vault

_PURPOSE: Final = b"revoked api key"
_TRIES: Final = 20


class Revocations:
    """The list as one process has read it. Methods raise ``Unavailable`` when the store cannot be reached."""

    def __init__(self, client: Redis, vault: Vault) -> None:
        self._client: Any = client
        self._scripts = Scripts(client)
        self._vault = vault
        self._epochs = Epochs(client, vault)
        self._epoch: int | None = None  # None: not read yet
        self._ids: set[str] = set()
        self._count = 0
        self._last_mac = ""
        self._lock = threading.Lock()
        self.intact = True  # False: this process has found that entries were altered or removed

    def refresh(self) -> int:
        """Read the entries that were added since the last call; return how many entries the server holds."""
        with self._lock, store_errors():
            if self._epoch is None:
                self._epoch = self._epochs.read().number
            pipeline = self._client.pipeline(transaction=True)
            pipeline.llen(keyspace.revocations())
            pipeline.lindex(keyspace.revocations(), self._count - 1)
            pipeline.lrange(keyspace.revocations(), self._count, -1)
            length, last, added = pipeline.execute()
            if self._count and _fields(last)[2] != self._last_mac:  # resealed, or tampered with: read all entries
                added, self._last_mac = self._client.lrange(keyspace.revocations(), 0, -1), ""
                known = {_fields(entry)[0] for entry in added}
                is_whole = length >= self._count and self._ids <= known
                self.intact = self.intact and (is_whole or self._is_restored())
            for entry in added:
                self._take(entry)
            self._count = length
        return int(length)

    def _is_restored(self) -> bool:
        """Return whether the store was restored since this process last looked."""
        before, self._epoch = self._epoch or 0, self._epochs.read().number
        return self._epoch > before

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._ids

    def add(self, key_id: str, now_ms: int, entry: AuditEntry) -> None:
        """Revoke a key for good, and add ``entry`` to the audit trail; do nothing if the key is revoked already."""
        for _ in range(_TRIES):
            entries = self._every()
            if any(_fields(each)[0] == key_id for each in entries):
                if self._write(entries, ""):  # it may be this call that a lost reply belongs to: confirm it
                    return
                continue
            before = _fields(entries[-1])[2] if entries else ""
            mac = self._mac(before, key_id, str(now_ms))[0]
            if self._write(entries, entry.text(), f"{key_id} {now_ms} {mac}"):
                self.refresh()
                return
        raise Conflict("Other keys were revoked at the same time. Run the command again.")

    def reseal(self) -> None:
        """Rewrite every entry's MAC with the newest key of the ring."""
        self.refresh()
        for _ in range(_TRIES):
            entries, resealed, before = self._every(), [], ""
            for entry in entries:
                key_id, at_ms, _ = _fields(entry)
                before = self._mac(before, key_id, at_ms)[0]
                resealed.append(f"{key_id} {at_ms} {before}")
            if self._write(entries, "", *resealed):
                return
        raise Conflict("Other keys were revoked at the same time. Run the command again.")

    def _every(self) -> list[bytes]:
        with store_errors():
            entries: list[bytes] = self._client.lrange(keyspace.revocations(), 0, -1)
        return entries

    def _write(self, entries: list[bytes], audited: str, *written: str) -> bool:
        """Confirm the list, with an entry more or with other MACs, unless it has changed since it was read.

        Returns whether it is so now.
        """
        last = entries[-1] if entries else b""
        return bool(self._scripts.run("revoke", [len(entries), last, audited, *written]))

    def _mac(self, before: str, key_id: str, at_ms: str) -> tuple[str, ...]:
        return self._vault.macs(_PURPOSE, before.encode(), key_id.encode(), at_ms.encode())

    def _take(self, entry: bytes) -> None:
        """Accept an entry even if its MAC is wrong, and report that: too many revoked keys are safer than too few."""
        key_id, at_ms, mac = _fields(entry)
        expected = self._mac(self._last_mac, key_id, at_ms)
        if not any(hmac.compare_digest(mac.encode(), each.encode()) for each in expected):
            self.intact = False
        self._ids.add(key_id)
        self._last_mac = mac


def _fields(entry: bytes | None) -> tuple[str, str, str]:
    key_id, at_ms, mac = [*(entry or b"").decode("latin-1").split(" ", 2), "", "", ""][:3]
    return key_id, at_ms, mac
