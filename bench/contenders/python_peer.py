"""What the Python peers have in common: a package under bench/peers, with one program each for queueing, working and
serving, which runs in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.children import ROOT, BenchError, accepts, clean_environment
from bench.contenders.contender import DATA, START_S, Layout, PeerDoor, Stage
from bench.contenders.environments import environment, pinned
from bench.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.contenders.contender import Door, Workload

RESULTS_DB: Final = 1  # a database with nothing but results, so that its keys count them
ENQUEUE_S: Final = 300.0
FRONT_THREADS: Final = 300  # as many as the relay has
WANTED: Final = {"status": 200, "data": {"ok": True}, "error": False}


class PythonPeer:
    """A peer whose package has ``app``, ``enqueue`` and ``front``; subclasses say how its workers are started."""

    name: str
    package: str
    shown: tuple[str, ...]  # packages whose versions the report names
    chosen: Layout
    results_db = RESULTS_DB

    def __init__(self) -> None:
        self._requirements = ROOT / "bench" / "peers" / self.package / "requirements.txt"
        self._python = Path()

    def versions(self) -> Mapping[str, str]:
        versions = pinned(self._requirements)
        return {name: versions[name] for name in self.shown}

    def layout(self, workload: Workload) -> Layout | None:
        return None if workload == "accept" else self.chosen

    def worker(self, layout: Layout, number: int) -> Sequence[str]:
        """Return the arguments with which Python starts a process of its workers."""
        raise NotImplementedError

    def front(self, port: int) -> Sequence[str]:  # noqa: ARG002 - most are told by BENCH_PORT
        """Return the arguments with which Python starts its front."""
        return ["-m", f"bench.peers.{self.package}.front"]

    def granian(self, port: int) -> Sequence[str]:
        """Return the same for a front that is a WSGI application."""
        return [
            *("-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--blocking-threads", str(FRONT_THREADS), "--no-ws", "--http", "1"),
            *("--backpressure", str(FRONT_THREADS * 2), f"bench.peers.{self.package}.front:application"),
        ]

    def prepare(self, build: Path) -> None:
        self._python = environment(build, self._requirements)

    def enqueue(self, stage: Stage, calls: int) -> list[bytes]:
        done = subprocess.run(
            [str(self._python), "-m", f"bench.peers.{self.package}.enqueue"],
            cwd=ROOT,
            env=self._environment(stage, BENCH_CALLS=str(calls), BENCH_DATA=json.dumps(DATA)),
            capture_output=True,
            timeout=ENQUEUE_S,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"{self.name} queued nothing: {done.stderr.decode(errors='replace')[-400:]}")
        return done.stdout.split()

    def start_workers(self, stage: Stage, layout: Layout, workload: Workload) -> None:  # noqa: ARG002
        environ = self._environment(stage, **layout.settings)
        for number in range(layout.processes):
            stage.children.start(f"worker{number}", [str(self._python), *self.worker(layout, number)], environ)

    def recorded(self, stage: Stage) -> int:
        # INFO counts the keys of each database, which saves a second connection with SELECT.
        return int(stage.server.client.info("keyspace").get(f"db{RESULTS_DB}", {}).get("keys", 0))

    def queued(self, stage: Stage) -> int:
        raise NotImplementedError  # no Python peer takes part in that workload

    def bad_results(self, stage: Stage, ids: Sequence[bytes], door: Door | None = None) -> int:  # noqa: ARG002
        pipeline = stage.server.client_of(self.results_db).pipeline(transaction=False)
        for call_id in ids:
            self.ask_result(pipeline, call_id)
        return sum(1 for value in pipeline.execute() if not value or self.result_of(json.loads(value)) != WANTED)

    def ask_result(self, pipeline: Any, call_id: bytes) -> None:
        """Queue the command that reads a call's result."""
        raise NotImplementedError

    def result_of(self, kept: Any) -> Any:
        """Return the call's own result from the result that the peer keeps."""
        return kept

    def start_front(self, stage: Stage, layout: Layout) -> PeerDoor:
        port = free_port()
        command = [str(self._python), *self.front(port)]
        settings = {**layout.settings, "BENCH_PORT": str(port)}
        stage.children.start("front", command, self._environment(stage, **settings))
        stage.children.wait_until(f"{self.name}'s front", lambda: accepts(port), START_S)
        return PeerDoor(port)

    def _environment(self, stage: Stage, **extra: str) -> dict[str, str]:
        return clean_environment(
            {
                "BENCH_BROKER_URL": stage.server.url(),
                "BENCH_RESULT_URL": stage.server.url(RESULTS_DB),
                "BENCH_ENDPOINT_URL": stage.endpoint.url,
                "BENCH_CONCURRENCY": "1",
                **extra,
            }
        )
