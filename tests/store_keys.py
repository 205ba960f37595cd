"""Names the keys of a store that has one partition, also those that only the scripts use."""

from __future__ import annotations

from typing import Final

from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import ROOT, key_in


class StoreKeys(Keyspace):
    """Names every key that tests look at."""

    __slots__ = ()

    def ages(self) -> str:
        return key_in(ROOT, "ages")

    def due_running(self) -> str:
        return key_in(ROOT, "due_running")

    def expiry(self) -> str:
        return key_in(ROOT, "expiry")

    def plugin_pending(self, plugin: str) -> str:
        return key_in(ROOT, "plugin_pending", plugin=plugin)


KEYS: Final = StoreKeys()
