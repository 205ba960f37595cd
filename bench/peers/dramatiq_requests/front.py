"""The WSGI front of the peer: sends a message, blocks for its result, answers as the relay does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from bench.peers.dramatiq_requests.app import send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WAIT_MS: Final = 30_000


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    size = int(environ.get("CONTENT_LENGTH") or 0)
    trigger = json.loads(environ["wsgi.input"].read(size))
    call_id = str(uuid4())
    result = send(call_id, trigger["data"]).get_result(block=True, timeout=WAIT_MS)
    body = json.dumps({"referenceId": call_id, **result}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
