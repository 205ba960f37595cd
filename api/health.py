"""What probes ask the process itself: is it there, and can it work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from api.bodies import JSON
from relay.errors import Unavailable

if TYPE_CHECKING:
    import falcon

    from relay.store.health import ServerWarnings
    from relay.store.invocations import InvocationStore


class HealthResource:
    """`GET /healthz`: the process answers."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Always 200."""
        resp.set_header("Cache-Control", "no-store")
        resp.content_type, resp.data = JSON, b'{"status":"ok"}'

    on_head = on_get


class ReadyResource:
    """`GET /readyz`: the store can be reached and a worker is alive."""

    def __init__(self, store: InvocationStore, warnings: ServerWarnings) -> None:
        self._store = store
        self._warnings = warnings

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """200 with the number of workers and what is wrong with the server; 503 says what is missing."""
        try:
            workers, warnings = self._store.workers_alive(), self._warnings.now()
        except Unavailable:
            raise Unavailable("Redis cannot be reached.") from None
        if not workers:
            raise Unavailable("No worker is alive.")
        resp.set_header("Cache-Control", "no-store")
        state = {"status": "ready", "redis": "ok", "workers": len(workers), "warnings": warnings}
        resp.content_type, resp.data = JSON, orjson.dumps(state)

    on_head = on_get
