"""Keeps the list of revoked API keys: it only grows, and a MAC binds each entry to those before it.

Somebody who can write to the server can add entries, and so revoke keys, as he could by deleting them. He cannot remove
an entry unnoticed: processes remember what they have read, and each key's record says how many entries there were when
it was written.
"""

from __future__ import annotations

import hmac
import threading
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Conflict
from relay.store import keyspace
from relay.store.key_names import SHARED_ROOT
from relay.store.server_errors import store_errors

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
        self._vault = vault
        self._ids: set[str] = set()
        self._count = 0
        self._last_mac = ""
        self._lock = threading.Lock()
        self.intact = True  # False: this process has found that entries were altered or removed

    def refresh(self) -> int:
        """Read the entries that were added since the last call; return how many entries the server holds."""
        with self._lock, store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.llen(keyspace.revocations())
            pipeline.lindex(keyspace.revocations(), self._count - 1)
            pipeline.lrange(keyspace.revocations(), self._count, -1)
            length, last, added = pipeline.execute()
            if self._count and _fields(last)[2] != self._last_mac:  # resealed, or tampered with: read all entries
                added, self._last_mac = self._client.lrange(keyspace.revocations(), 0, -1), ""
                known = {_fields(entry)[0] for entry in added}
                self.intact = self.intact and length >= self._count and self._ids <= known
            for entry in added:
                self._take(entry)
            self._count = length
        return int(length)

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._ids

    def add(self, key_id: str, now_ms: int, entry: AuditEntry) -> None:
        """Revoke a key for good, and add ``entry`` to the audit trail; do nothing if the key is revoked already."""
        for _ in range(_TRIES):
            count = self.refresh()
            if key_id in self._ids:
                return
            mac = self._mac(self._last_mac, key_id, str(now_ms))[0]
            if self._append(count, f"{key_id} {now_ms} {mac}", entry):
                self.refresh()
                return
        raise Conflict("Other keys were revoked at the same time. Run the command again.")

    def reseal(self) -> None:
        """Rewrite every entry's MAC with the newest key of the ring."""
        self.refresh()

        def write(pipeline: Any) -> None:
            entries, before = pipeline.lrange(keyspace.revocations(), 0, -1), ""
            pipeline.multi()
            for index, entry in enumerate(entries):
                key_id, at_ms, _ = _fields(entry)
                before = self._mac(before, key_id, at_ms)[0]
                pipeline.lset(keyspace.revocations(), index, f"{key_id} {at_ms} {before}")

        with store_errors():
            self._client.transaction(write, keyspace.revocations())

    def _mac(self, before: str, key_id: str, at_ms: str) -> tuple[str, ...]:
        return self._vault.macs(_PURPOSE, before.encode(), key_id.encode(), at_ms.encode())

    def _append(self, count: int, revoked: str, entry: AuditEntry) -> bool:
        """Add an entry, unless the list no longer has ``count`` entries; return whether it was added."""

        def write(pipeline: Any) -> None:
            length = pipeline.llen(keyspace.revocations())
            pipeline.multi()
            if length == count:
                pipeline.rpush(keyspace.revocations(), revoked)
                pipeline.rpush(keyspace.audit("entries", SHARED_ROOT), entry.text())

        with store_errors():
            return bool(self._client.transaction(write, keyspace.revocations()))

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
