"""The taskiq broker and task of the peer; its queue is a list."""

from __future__ import annotations

import os
from typing import Any, Final

import aiohttp
from taskiq import TaskiqEvents, TaskiqState
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

TIMEOUT_S: Final = 20

results: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(
    os.environ["BENCH_RESULT_URL"], serializer=ORJSONSerializer(), result_ex_time=24 * 3600
)
broker: Any = ListQueueBroker(os.environ["BENCH_BROKER_URL"])
broker = broker.with_result_backend(results).with_serializer(ORJSONSerializer())


@broker.on_event(TaskiqEvents.WORKER_STARTUP)  # type: ignore[untyped-decorator]
async def open_session(_state: TaskiqState) -> None:
    size = int(os.environ["BENCH_CONCURRENCY"])
    broker.state.session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=size), timeout=aiohttp.ClientTimeout(TIMEOUT_S)
    )


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)  # type: ignore[untyped-decorator]
async def close_session(_state: TaskiqState) -> None:
    await broker.state.session.close()


@broker.task(task_name="call")  # type: ignore[untyped-decorator]
async def call(call_id: str, data: Any) -> dict[str, Any]:
    """Post the data to the endpoint."""
    sent = broker.state.session.post(os.environ["BENCH_ENDPOINT_URL"], json=data, headers={"webhook-id": call_id})
    async with sent as answer:
        return {"status": answer.status, "data": await answer.json(), "error": answer.status >= 400}
