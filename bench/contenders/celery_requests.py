"""The peer plain Celery + requests, in whichever pool serves it best."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from bench.children import ROOT, BenchError, accepts, clean_environment
from bench.contenders.contender import DATA, START_S, Front, Stage, Variant, post_request
from bench.ports import free_port
from bench.rounds import CELERY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.rounds import Workload

PEER: Final = "bench.peers.celery_requests"
RESULTS_DB: Final = 1  # a database with nothing but results, so that DBSIZE counts them
ENQUEUE_S: Final = 300.0
FRONT_THREADS: Final = 64

#: (pool, worker processes as we start them, concurrency of each); prefork forks its own processes.
POOLS: Final = (
    ("threads", 2, 16),
    ("threads", 1, 16),
    ("prefork", 1, 2),
    ("prefork", 1, 4),
    ("gevent", 1, 64),
    ("gevent", 2, 64),
)


class CeleryRequests:
    """Celery with its defaults; only unused features that would slow it down (gossip, mingle, events) are off."""

    name = CELERY

    def versions(self) -> Mapping[str, str]:
        return {package: version(package) for package in ("celery", "kombu", "requests", "urllib3", "gevent")}

    def variants(self, workload: Workload) -> Sequence[Variant]:
        if workload == "accept":
            return []
        return [
            Variant(
                f"{pool}, {processes} x {concurrency}",
                processes,
                {"pool": pool, "BENCH_CONCURRENCY": str(concurrency)},
            )
            for pool, processes, concurrency in POOLS
        ]

    def prepare(self, build: Path) -> None:
        pass

    def enqueue(self, stage: Stage, calls: int) -> list[bytes]:
        environment = self._environment(stage, BENCH_CALLS=str(calls), BENCH_DATA=json.dumps(DATA))
        done = subprocess.run(
            [sys.executable, "-m", f"{PEER}.enqueue"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            timeout=ENQUEUE_S,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"Celery's enqueue failed: {done.stderr.decode(errors='replace')[-400:]}")
        return done.stdout.split()

    def start_workers(self, stage: Stage, variant: Variant, workload: Workload) -> None:  # noqa: ARG002
        concurrency = variant.settings["BENCH_CONCURRENCY"]
        command = [sys.executable, "-m", "celery", "-A", f"{PEER}.app", "worker", "-P", variant.settings["pool"]]
        command += ["-c", concurrency, "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
        environment = self._environment(stage, BENCH_CONCURRENCY=concurrency)
        for number in range(variant.processes):
            stage.children.start(f"worker{number}", [*command, "-n", f"bench{number}@%h"], environment)

    def recorded(self, stage: Stage) -> int:
        # INFO rather than a second connection with SELECT: the server counts the keys of each database.
        return int(stage.server.client.info("keyspace").get(f"db{RESULTS_DB}", {}).get("keys", 0))

    def queued(self, stage: Stage) -> int:
        return stage.server.client.llen("celery")

    def bad_results(self, stage: Stage, ids: Sequence[bytes]) -> int:
        pipeline = stage.server.client_of(RESULTS_DB).pipeline(transaction=False)
        for call_id in ids:
            pipeline.get(b"celery-task-meta-" + call_id)
        wanted = {"status": 200, "data": {"ok": True}, "error": False}
        return sum(1 for value in pipeline.execute() if not value or json.loads(value)["result"] != wanted)

    def start_front(self, stage: Stage, variant: Variant) -> Front:  # noqa: ARG002
        port = free_port()
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--workers", "1", "--blocking-threads", str(FRONT_THREADS), "--no-ws", "--http", "1"]
        command += ["--backpressure", str(FRONT_THREADS * 2), f"{PEER}.front:application"]
        stage.children.start("front", command, self._environment(stage))
        stage.children.wait_until("Celery's front", lambda: accepts(port), START_S)
        return Front((port,), post_request("/trigger", json.dumps({"data": DATA}).encode()))

    def _environment(self, stage: Stage, **extra: str) -> dict[str, str]:
        return clean_environment(
            {
                "BENCH_BROKER_URL": stage.server.url(),
                "BENCH_RESULT_URL": stage.server.url(RESULTS_DB),
                "BENCH_ENDPOINT_URL": stage.endpoint_url,
                "BENCH_CONCURRENCY": "1",
                **extra,
            }
        )
