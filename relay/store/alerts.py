"""Which alerts hold, and which of their changes are still to be told of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from relay.store import keyspace
from relay.store.scripts import Scripts
from relay.store.server_errors import store_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

#: Of several workers one looks in so much time.
PERIOD_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Condition:
    """What an alert is about, whether it holds now, and for how long it has to before it counts."""

    name: str
    holds: bool
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
    """Raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = Scripts(client)

    def take_lock(self) -> bool:
        """Take the lock of looking for one period; return whether nobody else had it."""
        with store_errors():
            return bool(self._client.set(keyspace.alerts("alerts_lock"), 1, nx=True, px=PERIOD_MS))

    def holding(self) -> list[str]:
        """Return the names of the alerts that hold, or are about to count."""
        with store_errors():
            return sorted(name.decode() for name in self._client.hkeys(keyspace.alerts()))

    def judge(self, conditions: Sequence[Condition]) -> list[AlertChange]:
        """Compare what holds now with what held before; returns the changes that nobody has been told of."""
        args: list[Any] = [len(conditions)]
        for each in conditions:
            args += [each.name, int(each.holds), each.hold_ms, orjson.dumps(each.detail)]
        reply = self._scripts.run("alerts", args)
        return [_change_from(name.decode(), text) for name, text in zip(reply[::2], reply[1::2], strict=True)]

    def told(self, changes: Sequence[AlertChange]) -> None:
        """Take out what was told."""
        if changes:
            with store_errors():
                self._client.hdel(keyspace.alerts("alerts_untold"), *(each.change_id for each in changes))


def _change_from(change_id: str, text: bytes) -> AlertChange:
    value = orjson.loads(text)
    detail = orjson.loads(value["detail"])
    return AlertChange(change_id, value["name"], value["state"], int(value["at"]), int(value["since"]), detail)
