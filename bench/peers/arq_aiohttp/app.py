"""The arq worker of the peer: as many jobs at once as BENCH_CONCURRENCY says, orjson instead of pickle."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Final

import aiohttp
import orjson
import uvloop
from arq.connections import RedisSettings, create_pool
from arq.worker import run_worker

TIMEOUT_S: Final = 20
SERVER: Final = RedisSettings.from_dsn(os.environ["BENCH_BROKER_URL"])


async def call(context: dict[str, Any], data: Any) -> dict[str, Any]:
    """Post the data to the endpoint under the job's id."""
    sent = context["session"].post(
        os.environ["BENCH_ENDPOINT_URL"], json=data, headers={"webhook-id": context["job_id"]}
    )
    async with sent as answer:
        return {"status": answer.status, "data": await answer.json(), "error": answer.status >= 400}


async def connect() -> Any:
    """Return the pool that fronts and enqueuers use."""
    return await create_pool(SERVER, job_serializer=orjson.dumps, job_deserializer=orjson.loads)


async def open_session(context: dict[str, Any]) -> None:
    connector = aiohttp.TCPConnector(limit=int(os.environ["BENCH_CONCURRENCY"]))
    context["session"] = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(TIMEOUT_S))


async def close_session(context: dict[str, Any]) -> None:
    await context["session"].close()


class WorkerSettings:
    """The settings class that arq reads."""

    functions: ClassVar = [call]
    redis_settings = SERVER
    on_startup = open_session
    on_shutdown = close_session
    max_jobs = int(os.environ.get("BENCH_CONCURRENCY", "1"))
    poll_delay = float(os.environ.get("BENCH_POLL_S", "0.01"))
    max_tries = 1
    keep_result = 24 * 3600
    log_results = False
    job_serializer = orjson.dumps
    job_deserializer = orjson.loads


if __name__ == "__main__":
    uvloop.install()
    run_worker(WorkerSettings)  # type: ignore[arg-type]
