"""Lists a plugin's invocations, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.store import keyspace
from relay.store.records import invocation_from
from relay.store.scripts import store_errors

if TYPE_CHECKING:
    import redis

    from relay.invocation import Invocation, State

_PAGE: Final = 200


class Listing:
    """Reads records through their indexes. Raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client

    def newest(
        self, plugin: str, *, webhook_id: str | None = None, state: State | None = None, limit: int = 50
    ) -> list[Invocation]:
        """A plugin's invocations, newest first."""
        found: list[Invocation] = []
        start = 0
        while len(found) < limit:
            page = self._page(plugin, start)
            if not page:
                break
            start += _PAGE
            found.extend(
                row
                for row in page
                if (webhook_id is None or row.webhook_id == webhook_id) and (state is None or row.state is state)
            )
        return found[:limit]

    def _page(self, plugin: str, start: int) -> list[Invocation]:
        with store_errors():
            refs = self._client.zrevrange(keyspace.plugin_index(plugin), start, start + _PAGE - 1)
            pipeline = self._client.pipeline(transaction=False)
            for ref in refs:
                pipeline.hgetall(keyspace.record(ref.decode()))
            records = pipeline.execute() if refs else []
        return [invocation_from(ref.decode(), fields) for ref, fields in zip(refs, records, strict=True) if fields]
