"""The dramatiq broker and actor of the peer: no retries, results kept in a database of their own."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Final

import dramatiq
import requests
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

TIMEOUT_S: Final = 20
RESULT_MS: Final = 24 * 3600 * 1000

broker = RedisBroker(url=os.environ["BENCH_BROKER_URL"])
broker.add_middleware(
    Results(
        backend=RedisBackend(url=os.environ["BENCH_RESULT_URL"], namespace="result", use_namespace_prefix_keys=True),
        result_ttl=RESULT_MS,
    )
)
dramatiq.set_broker(broker)


@cache
def session() -> requests.Session:
    """Return the process's one Session, with as many pooled connections as the process has calls at once."""
    made = requests.Session()
    made.trust_env = False  # does not read proxy variables and .netrc before each call
    size = int(os.environ["BENCH_CONCURRENCY"])
    made.mount("http://", requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=size))
    return made


@dramatiq.actor(store_results=True, max_retries=0)
def call(call_id: str, data: Any) -> dict[str, Any]:
    """Post the data to the endpoint."""
    answer = session().post(
        os.environ["BENCH_ENDPOINT_URL"], json=data, headers={"webhook-id": call_id}, timeout=TIMEOUT_S
    )
    return {"status": answer.status_code, "data": answer.json(), "error": answer.status_code >= 400}


def send(call_id: str, data: Any) -> dramatiq.Message[Any]:
    """Queue a call under an id that the bench has chosen."""
    return broker.enqueue(call.message(call_id, data).copy(message_id=call_id))
