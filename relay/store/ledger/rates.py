"""Limits how many triggers a plugin may send, over all API processes: the store keeps the count."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from relay.errors import RateLimited
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.scripting.scripts import Scripts
from relay.text.quantities import read_rate

if TYPE_CHECKING:
    import redis


class PluginRates:
    """The rate limit of every plugin: ``rate`` is ``n/s`` or ``n/m``, None for no limit. A burst of n is allowed."""

    def __init__(self, client: redis.Redis, rate: str | None, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._scripts = Scripts(client)
        self._rate = None if rate is None else read_rate(rate)

    def take(self, plugin: str, count: int = 1) -> None:
        """Count triggers that a plugin sends.

        Raises:
            RateLimited: the rate is used up for another ``retry_after_s`` seconds; nothing was counted.
            Unavailable: the store is away.
        """
        if self._rate is None or count == 0:
            return
        interval_us = self._rate.period_s * 1_000_000 / self._rate.count
        args = [plugin, interval_us, self._rate.count, count, uuid4().hex]
        wait_us = int(self._scripts.run("plugin_rate", args, self._keys.root(plugin)))
        if wait_us > 0:
            raise RateLimited(retry_after_s=-(-wait_us // 1_000_000))
