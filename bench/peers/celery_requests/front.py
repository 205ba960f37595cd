"""The WSGI front of the peer: delays tasks, gets results, answers with the same members as the relay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from bench.peers.celery_requests.app import app, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WAIT_S: Final = 30


def trigger(asked: Any) -> Any:
    """Call and wait for the result, as often as there are steps; the last one's is the answer."""
    for _ in range(asked.get("steps", 1)):
        task = call.delay(asked["data"], asked["webhook"])
        result = task.get(timeout=WAIT_S)
    return {"referenceId": task.id, **result}


def add(asked: Any) -> Any:
    return {"referenceId": call.delay(asked["data"], asked["webhook"]).id, "state": "queued"}


def bulk(items: Any) -> Any:
    with app.producer_pool.acquire(block=True) as producer, producer.batch(len(items)):
        tasks = [call.apply_async((each["data"], each["webhook"]), producer=producer, retry=False) for each in items]
    results = [{"referenceId": each.id, "state": "queued"} for each in tasks]
    return {"accepted": len(results), "rejected": 0, "results": results}


DOORS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "/trigger": ("200 OK", trigger),
    "/add": ("202 Accepted", add),
    "/bulk": ("202 Accepted", bulk),
}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, door = DOORS[environ["PATH_INFO"]]
    size = int(environ.get("CONTENT_LENGTH") or 0)
    body = json.dumps(door(json.loads(environ["wsgi.input"].read(size)))).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
