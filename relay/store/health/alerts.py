"""Records which alerts hold, and which of their changes have not been delivered to the operators' webhook yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import store_errors
from relay.store.server.locks import take_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

#: How long the lock lasts, in milliseconds: one worker checks for alerts in each such period.
PERIOD_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Condition:
    """The subject of an alert, whether it holds now, and how long it has to hold before the alert fires."""

    name: str
    holds: bool | None  # None: unknown, since a part of the store does not answer
    detail: Mapping[str, Any]
    hold_ms: int = 0


@dataclass(frozen=True, slots=True)
class AlertChange:
    """An alert began (`firing`) or ended (`over`)."""

    change_id: str
    name: str
    state: str
    at_ms: int
    since_ms: int
    detail: Mapping[str, Any]


class Alerts:
    """The alerts that are sent to a plugin's webhook. Every method raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, plugin: str, keys: Keyspace = SINGLE) -> None:
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._plugin = plugin
        self._keys = keys
        self._scripts = Scripts(client)

    def take_lock(self) -> bool:
        """Take the lock that lets one worker check for alerts, for one period; return whether it was free."""
        with store_errors():
            return take_lock(self._client, self._keys.of_plugin("alerts_lock", self._plugin), "1", PERIOD_MS)

    def holding(self) -> list[str]:
        """Return the names of the alerts that fire, or that hold but not long enough to fire yet."""
        with store_errors():
            return sorted(name.decode() for name in self._client.hkeys(self._keys.of_plugin("alerts", self._plugin)))

    def evaluate(self, conditions: Sequence[Condition]) -> list[AlertChange]:
        """Compare what holds now with what held before; return the changes that have not been delivered yet."""
        args: list[Any] = [self._plugin, len(conditions)]
        for each in conditions:
            holds = "" if each.holds is None else int(each.holds)
            args += [each.name, holds, each.hold_ms, orjson.dumps(each.detail)]
        reply = self._scripts.run("alerts", args, self._keys.root(self._plugin))
        return [_change_from(name.decode(), text) for name, text in zip(reply[::2], reply[1::2], strict=True)]

    def delete_delivered(self, changes: Sequence[AlertChange]) -> None:
        """Delete changes that have been delivered."""
        if changes:
            key = self._keys.of_plugin("pending_alerts", self._plugin)
            with store_errors():
                self._client.hdel(key, *(each.change_id for each in changes))


def _change_from(change_id: str, text: bytes) -> AlertChange:
    value = orjson.loads(text)
    detail = orjson.loads(value["detail"])
    return AlertChange(change_id, value["name"], value["state"], int(value["at"]), int(value["since"]), detail)
