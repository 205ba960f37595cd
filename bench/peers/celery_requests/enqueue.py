"""Queues BENCH_CALLS tasks with no worker running and prints their ids, one a line."""

from __future__ import annotations

import json
import os
import sys
from typing import Final

from celery import uuid

from bench.peers.celery_requests.app import app, call

BATCH: Final = 500


def main() -> None:
    data = json.loads(os.environ["BENCH_DATA"])
    ids = [uuid() for _ in range(int(os.environ["BENCH_CALLS"]))]
    with app.producer_pool.acquire(block=True) as producer, producer.batch(BATCH):
        for task_id in ids:
            call.apply_async((data,), task_id=task_id, producer=producer, retry=False, ignore_result=False)
    sys.stdout.write("\n".join(ids))


if __name__ == "__main__":
    main()
