"""The aiohttp front of the peer: sends a task, looks for its result every few ms, answers as the relay does."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import uvloop
from aiohttp import web

from bench.peers.taskiq_aiohttp.app import broker, call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAIT_S: Final = 30
LOOK_S: Final = 0.01


async def trigger(request: web.Request) -> web.Response:
    call_id = str(uuid4())
    data = json.loads(await request.read())["data"]
    task = await call.kicker().with_task_id(call_id).kiq(call_id, data)
    result = await task.wait_result(check_interval=LOOK_S, timeout=WAIT_S)
    return web.json_response({"referenceId": call_id, **result.return_value})


async def connected(_app: web.Application) -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


def main() -> None:
    app = web.Application()
    app.cleanup_ctx.append(connected)
    app.router.add_post("/trigger", trigger)
    port = int(os.environ["BENCH_PORT"])
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()
