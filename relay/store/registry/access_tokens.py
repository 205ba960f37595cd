"""Keeps webhooks' access tokens, sealed, and the lock that lets one process fetch the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import store_errors
from relay.store.server.locks import hold_lock

if TYPE_CHECKING:
    from redis import Redis


class RevisionId(NamedTuple):
    """The revision of a webhook that a token is for."""

    plugin: str
    webhook_id: str
    revision: int
    stamp: str  # of the revision: no other one ever had it, even under the same number


class AccessTokenStore:
    """The sealed tokens in the store. Methods raise ``Unavailable`` when the store cannot be reached."""

    def __init__(self, client: Redis, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = Scripts(client)

    def read(self, revision_id: RevisionId) -> bytes | None:
        """Read the sealed token; None if the store has none."""
        with store_errors():
            value: bytes | None = self._client.get(self._key("access_token", revision_id))
        return value

    def write(self, revision_id: RevisionId, sealed: bytes, lifetime_s: float) -> None:
        """Store a token for ``lifetime_s`` seconds."""
        with store_errors():
            self._client.set(self._key("access_token", revision_id), sealed, px=max(1, int(lifetime_s * 1000)))

    def drop(self, revision_id: RevisionId, sealed: bytes) -> None:
        """Delete a token that an endpoint refused, unless a newer one has replaced it."""
        self._drop(revision_id, "access_token", sealed)

    def lock_fetch(self, revision_id: RevisionId, owner: str, lock_s: float) -> bool:
        """Let ``owner`` fetch the next token, for at most ``lock_s``; return False if another owner is fetching it."""
        with store_errors():
            return hold_lock(self._client, self._key("access_token_fetcher", revision_id), owner, int(lock_s * 1000))

    def unlock_fetch(self, revision_id: RevisionId, owner: str) -> None:
        """Release the lock that ``owner`` took, so that others may fetch."""
        self._drop(revision_id, "access_token_fetcher", owner)

    def _drop(self, revision_id: RevisionId, what: str, value: bytes | str) -> None:
        self._scripts.run("drop_access_token", [*revision_id[:3], what, value], self._keys.root(revision_id.plugin))

    def _key(self, kind: str, of: RevisionId) -> str:
        return self._keys.of_plugin(kind, of.plugin, webhook=of.webhook_id, revision=of.revision)
