"""What a Python team might use: Celery + requests, dramatiq + requests, taskiq + aiohttp, arq + aiohttp."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contenders.contender import SCHEMA, SECRET, Layout
from bench.contenders.python_peer import PythonPeer
from bench.readings import ARQ, CELERY, DRAMATIQ, STACK, TASKIQ

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.contenders.contender import PeerDoor, Stage, Workload


class CeleryRequests(PythonPeer):
    """Celery with its defaults, in the relay's environment; only unused features that would slow it down are off."""

    name = CELERY
    package = "celery_requests"
    shown = ("celery", "kombu", "requests", "urllib3", "gevent")
    chosen = Layout("threads, 2 x 16", 2, {"BENCH_CONCURRENCY": "16"})  # the fastest of its pools

    def versions(self) -> Mapping[str, str]:
        return {package: version(package) for package in self.shown}

    def prepare(self, build: Path) -> None:  # noqa: ARG002
        self._python = Path(sys.executable)

    def ship(self, stage: Stage) -> PeerDoor:
        self.start_workers(stage, self.chosen, "await")
        return self.start_front(stage, self.chosen)

    def prepare_bulk(self, stage: Stage) -> None:
        pass

    def worker(self, layout: Layout, number: int) -> Sequence[str]:
        return [
            *("-m", "celery", "-A", f"bench.peers.{self.package}.app", "worker", "-P", "threads"),
            *("-c", layout.settings["BENCH_CONCURRENCY"], "-n", f"bench{number}@%h", "-l", "WARNING"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]

    def front(self, port: int) -> Sequence[str]:
        return self.granian(port)

    def ask_result(self, pipeline: Any, call_id: bytes) -> None:
        pipeline.get(b"celery-task-meta-" + call_id)

    def result_of(self, kept: Any) -> Any:
        return kept["result"]


class Dramatiq(PythonPeer):
    """dramatiq with its defaults, but without retries."""

    name = DRAMATIQ
    package = "dramatiq_requests"
    shown = ("dramatiq",)

    chosen = Layout("threads, 2 x 16", 1, {"BENCH_CONCURRENCY": "16"})

    def worker(self, layout: Layout, number: int) -> Sequence[str]:  # noqa: ARG002
        return [
            str(self._python.parent / "dramatiq"),
            *("--processes", "2", "--threads", layout.settings["BENCH_CONCURRENCY"]),
            *("--skip-logging", f"bench.peers.{self.package}.app"),
        ]

    def front(self, port: int) -> Sequence[str]:
        return self.granian(port)

    def ask_result(self, pipeline: Any, call_id: bytes) -> None:
        pipeline.lindex(b"result:default:call:" + call_id, 0)


class Taskiq(PythonPeer):
    """taskiq on uvloop (which it takes by itself), orjson, no pydantic parsing of arguments."""

    name = TASKIQ
    package = "taskiq_aiohttp"
    shown = ("taskiq", "taskiq-redis", "aiohttp", "uvloop")

    chosen = Layout("list, 2 x 100", 1, {"BENCH_CONCURRENCY": "100"})

    def worker(self, layout: Layout, number: int) -> Sequence[str]:  # noqa: ARG002
        return [
            *("-m", "taskiq", "worker", f"bench.peers.{self.package}.app:broker", "--no-parse"),
            *("--workers", "2", "--max-async-tasks", layout.settings["BENCH_CONCURRENCY"]),
            *("--log-level", "ERROR"),
        ]

    def ask_result(self, pipeline: Any, call_id: bytes) -> None:
        pipeline.get(call_id)

    def result_of(self, kept: Any) -> Any:
        return kept["return_value"]


class Arq(PythonPeer):
    """arq on uvloop with a poll delay of 10 ms instead of half a second, orjson instead of pickle."""

    name = ARQ
    package = "arq_aiohttp"
    shown = ("arq",)
    results_db = 0

    chosen = Layout("1 x 100", 1, {"BENCH_CONCURRENCY": "100"})

    def worker(self, layout: Layout, number: int) -> Sequence[str]:  # noqa: ARG002 - all in its environment
        return ["-m", f"bench.peers.{self.package}.app"]

    def recorded(self, stage: Stage) -> int:
        # A job leaves the queue in the transaction that keeps its result; only differences matter.
        return -stage.server.client.zcard(b"arq:queue")

    def ask_result(self, pipeline: Any, call_id: bytes) -> None:
        pipeline.get(b"arq:result:" + call_id)

    def result_of(self, kept: Any) -> Any:
        return kept["r"]


class Stack(PythonPeer):
    """The least that an awaited call with BullMQ's equal duties costs on the relay's stack (`bench/peers/stack/`)."""

    name = STACK
    package = "stack"
    shown = ("httptools",)

    chosen = Layout("1 + 1", 1, {"BENCH_SCHEMA": json.dumps(SCHEMA), "BENCH_SECRET": SECRET})

    def layout(self, workload: Workload) -> Layout | None:
        return self.chosen if workload == "await" else None

    def worker(self, layout: Layout, number: int) -> Sequence[str]:  # noqa: ARG002
        return [
            *("-m", "celery", "-A", f"bench.peers.{self.package}.app", "worker", "-P", "gevent", "-c", "4"),
            *("-l", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]

    def front(self, port: int) -> Sequence[str]:
        return self.granian(port)
