"""What operators do to a webhook as a whole: pause, resume, and look at or close its circuit breaker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from relay.store import keyspace
from relay.store.invocations import GRACE_MS
from relay.store.scripts import Scripts, store_errors
from relay.store.transitions import ready_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from relay.store.transitions import Ready

#: Parked calls made ready by one script run.
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """How a webhook's calls stand: paused or not, its breaker, how many calls are parked and running."""

    paused: bool
    breaker: Literal["closed", "open", "half-open"]
    failures: int  # in a row, without contact
    open_until_ms: int | None  # by the server's clock
    parked: int
    running: int


class Policies:
    """Pauses and breakers. Every method raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client
        self._scripts = Scripts(client)

    def pause(self, plugin: str, webhook_id: str) -> None:
        """Send nothing more of this webhook; what is accepted is parked."""
        with store_errors():
            self._client.hset(keyspace.policy(plugin, webhook_id), "paused", "1")

    def resume(self, plugin: str, webhook_id: str) -> Iterator[Ready]:
        """Send again: pages of parked calls that may go now, for the caller to publish."""
        offset = 0
        while True:
            page = ready_from(self._scripts.run("resume", [plugin, webhook_id, GRACE_MS, offset, _PAGE]))
            if page:
                yield page
            if len(page) < _PAGE:
                return
            offset += _PAGE

    def close_breaker(self, plugin: str, webhook_id: str) -> None:
        """Let calls go again, whatever failed before."""
        with store_errors():
            self._client.hdel(keyspace.policy(plugin, webhook_id), "failures", "openUntil", "openFor", "probe")

    def traffic(self, plugin: str, webhook_id: str) -> Traffic:
        """How a webhook's calls stand at this moment."""
        policy = keyspace.policy(plugin, webhook_id)
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hmget(policy, "paused", "failures", "openUntil")
            pipeline.zcard(keyspace.parked(plugin, webhook_id))
            pipeline.zcard(keyspace.running(plugin, webhook_id))
            pipeline.time()
            (paused, failures, open_until), parked, running, (seconds, _) = pipeline.execute()
        until_ms = int(open_until or 0)
        state: Literal["closed", "open", "half-open"] = "closed"
        if until_ms:
            state = "open" if until_ms > seconds * 1000 else "half-open"
        return Traffic(paused == b"1", state, int(failures or 0), until_ms or None, parked, running)
