"""What probes and people ask the process itself: is it there, can it work, and the browser's client module."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import orjson

from api.bodies import JSON
from relay.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    import falcon

    from relay.store.health import ServerWarnings
    from relay.store.invocations import InvocationStore

_SCRIPT_AGE_S: Final = 300


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


class ScriptResource:
    """`GET /webhooks.js`: the JavaScript client, an ES module that any page may import."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._etag = f'"{hashlib.sha256(self._content).hexdigest()[:32]}"'

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The module, or 304 where the browser has it."""
        resp.set_header("Access-Control-Allow-Origin", "*")  # it is the same for everybody and holds no secret
        resp.set_header("Cache-Control", f"public, max-age={_SCRIPT_AGE_S}")
        resp.set_header("ETag", self._etag)
        resp.set_header("X-Content-Type-Options", "nosniff")
        known = (req.get_header("If-None-Match") or "").replace("W/", "").split(",")
        if any(tag.strip() in {self._etag, "*"} for tag in known):
            resp.status = 304
            return
        resp.content_type, resp.data = "text/javascript; charset=utf-8", self._content

    on_head = on_get
