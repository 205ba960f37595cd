"""Queues BENCH_CALLS tasks with no worker running and prints their ids, one a line."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Final
from uuid import uuid4

from bench.peers.taskiq_aiohttp.app import broker, call

AT_ONCE: Final = 50


async def queue(ids: list[str]) -> None:
    data = json.loads(os.environ["BENCH_DATA"])
    await broker.startup()
    for start in range(0, len(ids), AT_ONCE):
        group = ids[start : start + AT_ONCE]
        await asyncio.gather(*(call.kicker().with_task_id(each).kiq(each, data) for each in group))
    await broker.shutdown()


def main() -> None:
    ids = [str(uuid4()) for _ in range(int(os.environ["BENCH_CALLS"]))]
    asyncio.run(queue(ids))
    sys.stdout.write("\n".join(ids))


if __name__ == "__main__":
    main()
