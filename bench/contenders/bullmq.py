"""The peer BullMQ + undici, in Node: its packages are installed by npm into the build folder at run time."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.children import ROOT, BenchError, accepts, clean_environment
from bench.contenders.contender import DATA, SCHEMA, SECRET, START_S, Layout, PeerDoor, SkippedError, Stage
from bench.ports import free_port
from bench.readings import BULLMQ, BULLMQ_DUTIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.contenders.contender import Door, Workload

SOURCE: Final = ROOT / "bench" / "peers" / "bullmq"
PACKAGES: Final = ("ajv", "bullmq", "ioredis", "undici")
INSTALL_S: Final = 300.0
ENQUEUE_S: Final = 300.0
NONCE_BYTES: Final = 12
#: Worker processes, Worker objects in each, and calls at once in each process: the fastest that were tried, both with
#: one front. Several Workers fetch jobs at the same time, which helps callers who wait.
SINGLES: Final = Layout("1 x 64 by 16", 1, {"BENCH_CONCURRENCY": "64", "BENCH_WORKERS": "16"})
BULK: Final = Layout("1 x 200", 1, {"BENCH_CONCURRENCY": "200", "BENCH_WORKERS": "1"})
LAYOUTS: Final = {"drain": BULK, "await": SINGLES, "accept": Layout("1 front", 0)}


class BullMQ:
    """BullMQ as its guide has it, tuned: bulk adds, one Worker a process, a pool of undici connections."""

    name = BULLMQ
    work = "plain"

    def __init__(self) -> None:
        self._home = Path()
        self._node = ""

    def versions(self) -> Mapping[str, str]:
        found = {"node": subprocess.run([self._node, "--version"], capture_output=True, text=True, check=True).stdout}
        for package in PACKAGES:
            manifest = json.loads((self._home / "node_modules" / package / "package.json").read_text())
            found[package] = manifest["version"]
        return {name: version.strip() for name, version in found.items()}

    def layout(self, workload: Workload) -> Layout:
        return LAYOUTS[workload]

    def ship(self, stage: Stage) -> PeerDoor:
        self.start_workers(stage, SINGLES, "await")
        return self.start_front(stage, SINGLES)

    def prepare_bulk(self, stage: Stage) -> None:
        stage.children.stop("worker")
        self.start_workers(stage, BULK, "drain")

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
        # No lock file: it would hold registry addresses of whichever machine wrote it.
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

    def start_workers(self, stage: Stage, layout: Layout, workload: Workload) -> None:  # noqa: ARG002
        for number in range(layout.processes):
            environment = self._environment(stage, **layout.settings)
            stage.children.start(f"worker{number}", [self._node, "worker.cjs"], environment, self._home)

    def recorded(self, stage: Stage) -> int:
        return stage.server.client.zcard("bull:calls:completed")

    def queued(self, stage: Stage) -> int:
        return stage.server.client.llen("bull:calls:wait")

    def bad_results(self, stage: Stage, ids: Sequence[bytes], door: Door | None = None) -> int:  # noqa: ARG002
        pipeline = stage.server.client.pipeline(transaction=False)
        for call_id in ids:
            pipeline.hget(b"bull:calls:" + call_id, "returnvalue")
        values = pipeline.execute()
        return sum(1 for value, ref in zip(values, ids, strict=True) if not value or not self._is_good(value, ref))

    def _is_good(self, value: bytes, _call_id: bytes) -> bool:
        return bool(json.loads(value) == {"status": 200, "data": {"ok": True}, "error": False})

    def start_front(self, stage: Stage, layout: Layout) -> PeerDoor:
        ports = tuple(free_port() for _ in range(layout.fronts))
        for number, port in enumerate(ports):
            environment = self._environment(stage, BENCH_PORT=str(port))
            stage.children.start(f"front{number}", [self._node, "front.cjs"], environment, self._home)
        stage.children.wait_until("BullMQ's fronts", lambda: all(map(accepts, ports)), START_S)
        return PeerDoor(*ports)

    def _environment(self, stage: Stage, **extra: str) -> dict[str, str]:
        return clean_environment(
            {
                "NODE_ENV": "production",
                "BENCH_WORK": self.work,
                "BENCH_REDIS_PORT": str(stage.server.port),
                "BENCH_ENDPOINT_URL": stage.endpoint.url,
                **extra,
            }
        )


class BullMQWithDuties(BullMQ):
    """BullMQ that does what the relay does for a call; `bench/peers/bullmq/duties.cjs` says how."""

    name = BULLMQ_DUTIES
    work = "duties"

    def __init__(self) -> None:
        super().__init__()
        self._key = secrets.token_bytes(32)

    def _is_good(self, value: bytes, call_id: bytes) -> bool:
        record = json.loads(value)
        sealed = base64.b64decode(record["result"])
        result = AESGCM(self._key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], b"result " + call_id)
        return record["status"] == 200 and not record["error"] and json.loads(result) == {"ok": True}

    def _environment(self, stage: Stage, **extra: str) -> dict[str, str]:
        duties = {
            "BENCH_KEY": base64.b64encode(self._key).decode(),
            "BENCH_SCHEMA": json.dumps(SCHEMA),
            "BENCH_SECRET": SECRET,
        }
        return super()._environment(stage, **duties, **extra)
