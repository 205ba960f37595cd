"""Heads: the newest ends of chains that each process has read, published to all others on a channel of the server.

So a process notices that a chain was set back even if it never read the newer part itself, because it started later or
because another process holds the lock. A message is a MAC, a line feed and JSON: somebody who can write to the server
can hold messages back or repeat them, but cannot forge any. A newer release may add values at the end.
"""

from __future__ import annotations

import hmac
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from relay.audit.checkpoint import Signed
from relay.store.keys import keyspace
from relay.store.server.errors import store_errors
from relay.store.server.replicas import primaries_of, refresh_primaries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from relay.vault import Vault

_PURPOSE: Final = b"heads"
_POLL_S: Final = 1.0
_PING_AFTER_S: Final = 5.0  # after this much silence the connection is tested with a ping
_SILENCE_S: Final = 10.0  # after this much silence the connection is given up


@dataclass(frozen=True, slots=True)
class ChainHead:
    """What a process has read of one root: its highest decision, and the newest checkpoint of its audit trail.

    Each has the id of the server's run that had it; what was not read is 0 or empty. Heads of different epochs are not
    compared: a restored store is older.
    """

    process: str
    root: str
    epoch: int
    seq: int
    server: str
    checkpoint: Signed | None = None
    checkpoint_server: str = ""


class Heads:
    """The channel. Methods raise ``Unavailable`` when the store cannot be reached."""

    def __init__(self, client: Redis, vault: Vault) -> None:
        self._client: Any = client
        self._vault = vault
        self._number = 0  # of the server of a cluster that is asked; each has every message

    def tell(self, head: ChainHead) -> None:
        """Publish a head."""
        signed = "" if head.checkpoint is None else b64encode(head.checkpoint.to_bytes()).decode()
        about = [head.process, head.root, head.epoch, head.seq, head.server, signed, head.checkpoint_server]
        payload = orjson.dumps(about)
        mac = self._vault.macs(_PURPOSE, payload)[0]
        with store_errors():
            self._server().publish(keyspace.heads(), mac.encode() + b"\n" + payload)

    def listen(self) -> Iterator[ChainHead | None]:
        """Yield the heads that processes publish, and None from time to time; end if the server is silent."""
        with store_errors(), self._next_server().pubsub() as pubsub:
            pubsub.subscribe(keyspace.heads())
            heard_at_s, asked = time.monotonic(), False
            while True:
                message = pubsub.get_message(timeout=_POLL_S)
                now_s = time.monotonic()
                if message is not None:
                    heard_at_s, asked = now_s, False
                    yield self._head_in(message["data"]) if message["type"] == "message" else None
                    continue
                if now_s - heard_at_s >= _SILENCE_S:
                    return
                if now_s - heard_at_s >= _PING_AFTER_S and not asked:
                    pubsub.ping()
                    asked = True
                yield None

    def _head_in(self, message: bytes) -> ChainHead | None:
        mac, _, payload = message.partition(b"\n")
        if not any(hmac.compare_digest(mac, each.encode()) for each in self._vault.macs(_PURPOSE, payload)):
            return None
        process, root, epoch, seq, server, text, checkpoint_server, *_ = orjson.loads(payload)
        signed = Signed.from_bytes(b64decode(text)) if text else None
        return ChainHead(process, root, epoch, seq, server, signed, checkpoint_server)

    def _server(self) -> Any:
        servers = primaries_of(self._client)
        return servers[self._number % len(servers)]

    def _next_server(self) -> Any:
        """Return a client of the next server: the last one may be silent."""
        self._number += 1
        refresh_primaries(self._client, at_most_once_in_s=_POLL_S)
        return self._server()
