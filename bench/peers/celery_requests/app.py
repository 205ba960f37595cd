"""The Celery app of the peer: Celery's defaults, JSON only, results kept in Redis."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Final
from urllib.parse import urljoin

import requests
from celery import Celery

TIMEOUT_S: Final = 20

app = Celery("bench", broker=os.environ["BENCH_BROKER_URL"], backend=os.environ["BENCH_RESULT_URL"])
app.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
)


@cache
def session() -> requests.Session:
    """Return the process's one Session, with as many pooled connections as the process has calls at once."""
    made = requests.Session()
    made.trust_env = False  # does not read proxy variables and .netrc before each call
    size = int(os.environ["BENCH_CONCURRENCY"])
    made.mount("http://", requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=size))
    return made


@app.task(name="bench.call", bind=True)  # type: ignore[untyped-decorator]
def call(self: Any, data: Any, webhook: str = "bench") -> dict[str, Any]:
    """Post the data to the webhook's endpoint under the task's id."""
    answer = session().post(
        urljoin(os.environ["BENCH_ENDPOINT_URL"], webhook),
        json=data,
        headers={"webhook-id": self.request.id},
        timeout=TIMEOUT_S,
    )
    return {"status": answer.status_code, "data": answer.json(), "error": answer.status_code >= 400}
