"""The WSGI front of the peer: delays a task, gets its result, answers with the same four members as the relay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from bench.peers.celery_requests.app import call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WAIT_S: Final = 30


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    size = int(environ.get("CONTENT_LENGTH") or 0)
    trigger = json.loads(environ["wsgi.input"].read(size))
    task = call.delay(trigger["data"])
    result = task.get(timeout=WAIT_S)
    body = json.dumps({"referenceId": task.id, **result}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
