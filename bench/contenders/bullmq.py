"""The peer BullMQ + undici, in Node: its packages are installed by npm into the build folder at run time."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.children import ROOT, BenchError, accepts, clean_environment, free_port
from bench.contenders.contender import DATA, START_S, Front, SkippedError, Stage, Variant, post_request
from bench.rounds import BULLMQ

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.rounds import Workload

SOURCE: Final = ROOT / "bench" / "peers" / "bullmq"
PACKAGES: Final = ("bullmq", "ioredis", "undici")
INSTALL_S: Final = 300.0
ENQUEUE_S: Final = 300.0


class BullMQ:
    """BullMQ as its guide has it, tuned: bulk adds, one Worker a process, a pool of undici connections."""

    name = BULLMQ

    def __init__(self) -> None:
        self._home = Path()
        self._node = ""

    def versions(self) -> Mapping[str, str]:
        found = {"node": subprocess.run([self._node, "--version"], capture_output=True, text=True, check=True).stdout}
        for package in PACKAGES:
            manifest = json.loads((self._home / "node_modules" / package / "package.json").read_text())
            found[package] = manifest["version"]
        return {name: version.strip() for name, version in found.items()}

    def variants(self, workload: Workload) -> Sequence[Variant]:
        if workload == "drain":
            return [_variant(processes, 1, places) for places in (64, 200) for processes in (1, 2)]
        by_map = [_variant(processes, workers, 64, "map") for workers in (16, 64, 1) for processes in (1, 2)]
        return [*by_map, _variant(1, 16, 64, "job"), _variant(1, 1, 64, "job")]

    def prepare(self, build: Path) -> None:
        node, npm = shutil.which("node"), shutil.which("npm")
        if not node or not npm:
            raise SkippedError("node and npm are not installed")
        self._node, self._home = node, build / "bullmq"
        self._home.mkdir(parents=True, exist_ok=True)
        wanted = (SOURCE / "package.json").read_text()
        stamp = self._home / "installed.json"
        for file in SOURCE.iterdir():
            shutil.copy(file, self._home / file.name)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        self._install(npm)
        stamp.write_text(wanted)

    def _install(self, npm: str) -> None:
        # No lock file: it would hold registry addresses of whoever ran this last.
        command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            done = subprocess.run(command, cwd=self._home, capture_output=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            raise SkippedError("npm install took too long") from None
        if done.returncode:
            raise SkippedError("npm install failed (no registry within reach?)")

    def enqueue(self, stage: Stage, calls: int) -> list[bytes]:
        environment = self._environment(stage, BENCH_CALLS=str(calls), BENCH_DATA=json.dumps(DATA))
        done = subprocess.run(
            [self._node, "enqueue.cjs"],
            cwd=self._home,
            env=environment,
            capture_output=True,
            timeout=ENQUEUE_S,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"enqueue.cjs failed: {done.stderr.decode(errors='replace')[-400:]}")
        return done.stdout.split()

    def start_workers(self, stage: Stage, variant: Variant, workload: Workload) -> None:  # noqa: ARG002
        for number in range(variant.processes):
            environment = self._environment(stage, **variant.settings)
            stage.children.start(f"worker{number}", [self._node, "worker.cjs"], environment, self._home)

    def recorded(self, stage: Stage) -> int:
        return stage.server.client.zcard("bull:calls:completed")

    def bad_results(self, stage: Stage, ids: Sequence[bytes]) -> int:
        pipeline = stage.server.client.pipeline(transaction=False)
        for call_id in ids:
            pipeline.hget(b"bull:calls:" + call_id, "returnvalue")
        wanted = {"status": 200, "data": {"ok": True}, "error": False}
        return sum(1 for value in pipeline.execute() if not value or json.loads(value) != wanted)

    def start_front(self, stage: Stage, variant: Variant) -> Front:
        port = free_port()
        environment = self._environment(stage, BENCH_PORT=str(port), **variant.settings)
        stage.children.start("front", [self._node, "front.cjs"], environment, self._home)
        stage.children.wait_until("BullMQ's front", lambda: accepts(port), START_S)
        return Front(port, post_request("/trigger", json.dumps({"data": DATA}).encode()))

    def _environment(self, stage: Stage, **extra: str) -> dict[str, str]:
        return clean_environment(
            {
                "NODE_ENV": "production",
                "BENCH_REDIS_PORT": str(stage.server.port),
                "BENCH_ENDPOINT_URL": stage.endpoint_url,
                **extra,
            }
        )


def _variant(processes: int, workers: int, places: int, wait: str = "") -> Variant:
    """So many processes, each with so many Worker objects, each process with so many jobs at once."""
    name = f"{processes} x {places}" + (f" by {workers}" if workers > 1 else "") + (f", wait by {wait}" if wait else "")
    settings = {"BENCH_CONCURRENCY": str(places), "BENCH_WORKERS": str(workers), "BENCH_WAIT": wait}
    return Variant(name, processes, settings)
