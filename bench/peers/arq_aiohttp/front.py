"""The aiohttp front of the peer: queues a job, looks for its result every few ms, answers as the relay does."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import uvloop
from aiohttp import web

from bench.peers.arq_aiohttp.app import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAIT_S: Final = 30
LOOK_S: Final = 0.01
POOL: Final = web.AppKey("pool", object)


async def trigger(request: web.Request) -> web.Response:
    call_id = str(uuid4())
    data = json.loads(await request.read())["data"]
    pool: Any = request.app[POOL]
    job = await pool.enqueue_job("call", data, _job_id=call_id)
    result = await job.result(timeout=WAIT_S, poll_delay=LOOK_S)
    return web.json_response({"referenceId": call_id, **result})


async def connected(app: web.Application) -> AsyncIterator[None]:
    pool = await connect()
    app[POOL] = pool
    yield
    await pool.aclose()


def main() -> None:
    app = web.Application()
    app.cleanup_ctx.append(connected)
    app.router.add_post("/trigger", trigger)
    port = int(os.environ["BENCH_PORT"])
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()
