"""What a Python team might use instead of Celery: dramatiq + requests, taskiq + aiohttp, arq + aiohttp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.contenders.contender import Variant
from bench.contenders.python_peer import FRONT_THREADS, PythonPeer
from bench.rounds import ARQ, DRAMATIQ, TASKIQ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contenders.contender import Stage
    from bench.rounds import Workload


class Dramatiq(PythonPeer):
    """dramatiq with its defaults, but without retries; with threads, or with gevent by its own command."""

    name = DRAMATIQ
    package = "dramatiq_requests"
    shown = ("dramatiq",)

    def variants(self, workload: Workload) -> Sequence[Variant]:
        if workload == "accept":
            return []
        return [
            _variant("threads, 2 x 16", 16, BENCH_PROGRAM="dramatiq", BENCH_PROCESSES="2"),
            _variant("gevent, 2 x 64", 64, BENCH_PROGRAM="dramatiq-gevent", BENCH_PROCESSES="2"),
            _variant("threads, 1 x 16", 16, BENCH_PROGRAM="dramatiq", BENCH_PROCESSES="1"),
        ]

    def worker(self, variant: Variant) -> Sequence[str]:
        settings = variant.settings
        return [
            str(self._python.parent / settings["BENCH_PROGRAM"]),
            *("--processes", settings["BENCH_PROCESSES"], "--threads", settings["BENCH_CONCURRENCY"]),
            *("--skip-logging", f"bench.peers.{self.package}.app"),
        ]

    def front(self, port: int) -> Sequence[str]:
        return [
            *("-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--blocking-threads", str(FRONT_THREADS), "--no-ws", "--http", "1"),
            *("--backpressure", str(FRONT_THREADS * 2), f"bench.peers.{self.package}.front:application"),
        ]

    def ask_result(self, pipeline: Any, call_id: bytes) -> None:
        pipeline.lindex(b"result:default:call:" + call_id, 0)


class Taskiq(PythonPeer):
    """taskiq on uvloop (which it takes by itself), orjson, no pydantic parsing of arguments."""

    name = TASKIQ
    package = "taskiq_aiohttp"
    shown = ("taskiq", "taskiq-redis", "aiohttp", "uvloop")

    def variants(self, workload: Workload) -> Sequence[Variant]:
        if workload == "accept":
            return []
        return [
            _variant(f"{broker}, {processes} x 100", 100, BENCH_BROKER=broker, BENCH_PROCESSES=processes)
            for broker in ("list", "stream")
            for processes in ("2", "1")
        ]

    def worker(self, variant: Variant) -> Sequence[str]:
        settings = variant.settings
        return [
            *("-m", "taskiq", "worker", f"bench.peers.{self.package}.app:broker", "--no-parse"),
            *("--workers", settings["BENCH_PROCESSES"], "--max-async-tasks", settings["BENCH_CONCURRENCY"]),
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

    def variants(self, workload: Workload) -> Sequence[Variant]:
        if workload == "accept":
            return []
        return [
            Variant(f"{processes} x {places}", processes, {"BENCH_CONCURRENCY": str(places)})
            for processes, places in ((1, 100), (2, 100), (1, 20))
        ]

    def worker(self, variant: Variant) -> Sequence[str]:  # noqa: ARG002 - all in its environment
        return ["-m", f"bench.peers.{self.package}.app"]

    def recorded(self, stage: Stage) -> int:
        # A job leaves the queue in the transaction that keeps its result; only differences are looked at.
        return -stage.server.client.zcard(b"arq:queue")

    def ask_result(self, pipeline: Any, call_id: bytes) -> None:
        pipeline.get(b"arq:result:" + call_id)

    def result_of(self, kept: Any) -> Any:
        return kept["r"]


def _variant(name: str, places: int, **settings: str) -> Variant:
    """Return a variant with one command, which forks its processes itself."""
    return Variant(name, 1, {"BENCH_CONCURRENCY": str(places), **settings})
