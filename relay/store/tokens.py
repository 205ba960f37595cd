"""Access tokens of webhooks, sealed, and who may fetch the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.store import keyspace
from relay.store.scripts import Scripts, store_errors

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True, slots=True)
class Holder:
    """The revision of a webhook that a token is for."""

    plugin: str
    webhook_id: str
    revision: int


class TokenStore:
    """Sealed tokens in the store. Methods raise ``Unavailable`` when it cannot be reached."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = Scripts(client)

    def read(self, holder: Holder) -> bytes | None:
        """The sealed token; None if there is none (any more)."""
        with store_errors():
            value: bytes | None = self._client.get(self._token(holder))
        return value

    def write(self, holder: Holder, sealed: bytes, lifetime_s: float) -> None:
        """Keep a token for its lifetime."""
        with store_errors():
            self._client.set(self._token(holder), sealed, px=max(1, int(lifetime_s * 1000)))

    def drop(self, holder: Holder, sealed: bytes) -> None:
        """Forget a token that was refused; one that has come in its place stays."""
        self._scripts.run("drop_token", [*_parts(holder), "token", sealed])

    def take_turn(self, holder: Holder, owner: str, turn_s: float) -> bool:
        """Whether ``owner`` may fetch the next token now; for at most ``turn_s`` nobody else may."""
        name = keyspace.token_turn(holder.plugin, holder.webhook_id, holder.revision)
        with store_errors():
            taken = self._client.set(name, owner, nx=True, px=int(turn_s * 1000))
            # A repeated command (its reply was lost) finds what it has set.
            return bool(taken) or self._client.get(name) == owner.encode()

    def end_turn(self, holder: Holder, owner: str) -> None:
        """Let others fetch."""
        self._scripts.run("drop_token", [*_parts(holder), "token_turn", owner])

    @staticmethod
    def _token(holder: Holder) -> str:
        return keyspace.token(holder.plugin, holder.webhook_id, holder.revision)


def _parts(holder: Holder) -> list[str | int]:
    return [holder.plugin, holder.webhook_id, holder.revision]
