"""Queues BENCH_CALLS tasks with no worker running and prints their ids, one a line."""

from __future__ import annotations

import json
import os
import sys

from celery import uuid

from bench.peers.celery_requests.app import app, call


def main() -> None:
    data = json.loads(os.environ["BENCH_DATA"])
    ids = [uuid() for _ in range(int(os.environ["BENCH_CALLS"]))]
    with app.producer_pool.acquire(block=True) as producer:
        for task_id in ids:
            call.apply_async((data,), task_id=task_id, producer=producer, retry=False, ignore_result=False)
    sys.stdout.write("\n".join(ids))


if __name__ == "__main__":
    main()
