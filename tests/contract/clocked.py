"""A ledger whose scripts read the time from a key that tests set; otherwise unchanged, on fakeredis and real server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from relay.store.decisions.every import EveryDecision
from relay.store.ledger.invocations import InvocationStore
from relay.store.ledger.policies import Policies
from relay.store.server.replicas import primaries_of
from relay.vault import Vault
from tests.contract.ledger import LIMITS
from tests.contract.snapshots import everything
from tests.store_keys import KEYS

if TYPE_CHECKING:
    import redis

START_MS = 1_700_000_000_000
PLUGIN = "acme"
_CLOCKS = ("test:{0}:clock", "test:{shared}:clock")  # a script touches keys of one slot
_SERVER_TIME = "redis.call('TIME')"
_STEPPED_TIME = (
    "{ string.match(redis.call('GET', 'test:' .. string.match(root, '{.+}') .. ':clock'), '^(%d+) (%d+)$') }"
)


class Clocked:
    """The store and the policies of one server, at a time that only ``set_ms`` moves."""

    def __init__(self, client: redis.Redis, *, margin_ms: int = 10_000) -> None:
        self.client = client
        for server in primaries_of(client):
            if "function_load" not in vars(server):
                server.function_flush()  # it may hold the scripts that use the server's time
                server.function_load = partial(_load_stepped, server)
        self.store = InvocationStore(client, LIMITS, lease_margin_ms=margin_ms)
        self.policies = Policies(client, self.store, EveryDecision(client, Vault.from_text(Vault.new_key_text())))
        self.set_ms(START_MS)

    def set_ms(self, now_ms: int) -> None:
        for clock in _CLOCKS:
            self.client.set(clock, f"{now_ms // 1000} {now_ms % 1000 * 1000}")

    def register(self, webhook: str, **limits: object) -> None:
        """Write a webhook of revision 1, with the limits that its registration would write."""
        self.client.hset(KEYS.webhooks(PLUGIN), webhook, 1)
        if limits:
            self.client.hset(KEYS.policy(PLUGIN, webhook), mapping=limits)

    def everything(self) -> dict[bytes, object]:
        """Return the whole store as plain values, without the clocks."""
        return {key: value for key, value in everything(self.client).items() if key.decode() not in _CLOCKS}


def _load_stepped(server: redis.Redis, text: str) -> object:
    return type(server).function_load(server, _stepped(text))


def _stepped(text: str) -> str:
    assert text.count(_SERVER_TIME) == 1
    return text.replace(_SERVER_TIME, _STEPPED_TIME)
