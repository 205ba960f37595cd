"""Makes keyed hashes of subjects, which are all that the store knows of them.

Each plugin has a random key of its own, sealed with the data keys. It stays the same when those are rotated, so that
what was accepted years ago is still found. Without the data keys, nobody can tell whose hash it is, or try names.
"""

from __future__ import annotations

import hmac
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import store_errors
from relay.vault import subject_key_owner

if TYPE_CHECKING:
    from redis import Redis

    from relay.vault import Vault

KEY_BYTES: Final = 32
#: 128 bits: two of a plugin's subjects will never have the same hash.
HASH_BYTES: Final = 16
#: How long a process uses a plugin's key without reading it again, in seconds: a server that lost it gets another.
KEY_AGE_S: Final = 1.0
_MOST_KEPT: Final = 1_000  # keys that one process keeps


class SubjectHashes:
    """Hashes subjects, for any thread. ``vault`` has the data keys.

    Methods raise `Unavailable` while the server is away, and `VaultError` if a plugin's key does not open.
    """

    def __init__(self, client: Redis, vault: Vault, keys: Keyspace = SINGLE) -> None:
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = Scripts(client)
        self._vault = vault
        self._keys = keys
        self._kept: dict[str, tuple[bytes, float]] = {}  # by plugin: its key, and when it was read

    def of(self, plugin: str, subject: str) -> str:
        """Return the hash of a plugin's subject; a plugin's first subject makes its key."""
        return _hash(self._key(plugin) or self._made(plugin), subject)

    def known(self, plugin: str, subject: str) -> str:
        """Return the hash to search for, which matches nothing if the plugin never had a subject. Writes nothing."""
        return _hash(self._key(plugin) or secrets.token_bytes(KEY_BYTES), subject)

    def _key(self, plugin: str) -> bytes | None:
        key, read_at_s = self._kept.get(plugin, (None, 0.0))
        now_s = time.monotonic()
        if key is not None and now_s - read_at_s < KEY_AGE_S:
            return key
        with store_errors():
            sealed = self._client.get(self._keys.of_plugin("subject_key", plugin))
        if sealed is None:
            return None
        key = self._vault.open(sealed, subject_key_owner(plugin))
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[plugin] = key, now_s
        return key

    def _made(self, plugin: str) -> bytes:
        """Make the plugin's key, unless another process has made it meanwhile; return it."""
        sealed = self._vault.seal(secrets.token_bytes(KEY_BYTES), subject_key_owner(plugin))
        self._scripts.write(self._keys.root(plugin), "SET", self._keys.of_plugin("subject_key", plugin), sealed, "NX")
        return self._key(plugin) or self._made(plugin)


def _hash(key: bytes, subject: str) -> str:
    return hmac.digest(key, subject.encode(), "sha256")[:HASH_BYTES].hex()
