"""Queues BENCH_CALLS jobs with no worker running and prints their ids, one a line."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Final
from uuid import uuid4

from bench.peers.arq_aiohttp.app import connect

AT_ONCE: Final = 50


async def queue(ids: list[str]) -> None:
    data = json.loads(os.environ["BENCH_DATA"])
    pool = await connect()
    for start in range(0, len(ids), AT_ONCE):
        group = ids[start : start + AT_ONCE]
        await asyncio.gather(*(pool.enqueue_job("call", data, _job_id=each) for each in group))
    await pool.aclose()


def main() -> None:
    ids = [str(uuid4()) for _ in range(int(os.environ["BENCH_CALLS"]))]
    asyncio.run(queue(ids))
    sys.stdout.write("\n".join(ids))


if __name__ == "__main__":
    main()
