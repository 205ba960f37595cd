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
from bench.contenders.contender import DATA, SCHEMA, SECRET, START_S, Front, SkippedError, Stage, Variant, post_request
from bench.ports import free_port
from bench.rounds import BULLMQ, BULLMQ_DUTIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.rounds import Workload

SOURCE: Final = ROOT / "bench" / "peers" / "bullmq"
PACKAGES: Final = ("ajv", "bullmq", "ioredis", "undici")
INSTALL_S: Final = 300.0
ENQUEUE_S: Final = 300.0
NONCE_BYTES: Final = 12
#: Which record says that a request may leave: BullMQ's own, or a separate hash for the call, written before.
SENDING: Final = ("active", "own")


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

    def variants(self, workload: Workload) -> Sequence[Variant]:
        if workload == "accept":
            return _accepting()
        if workload == "drain":
            return [
                _variant(1, 1, 200),
                _variant(1, 1, 200, pipelines=True),
                _variant(2, 1, 200, pipelines=True),
                _variant(2, 1, 64),
            ]
        return [
            _variant(1, 16, 64, wait="map"),
            _variant(2, 16, 64, wait="map"),
            _variant(1, 16, 64, wait="map", pipelines=True),
            _variant(1, 16, 64, wait="map", pipelines=True, add="bulk"),
            _variant(1, 16, 64, wait="map", pipelines=True, add="bulk", fronts=2),
            _variant(2, 16, 64, wait="map", pipelines=True, add="bulk", fronts=2),
            _variant(1, 64, 64, wait="map"),
            _variant(1, 16, 64, wait="job"),
        ]

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
        # No lock file: it would hold the registry addresses of the last user's machine.
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

    def queued(self, stage: Stage) -> int:
        return stage.server.client.llen("bull:calls:wait")

    def bad_results(self, stage: Stage, ids: Sequence[bytes]) -> int:
        pipeline = stage.server.client.pipeline(transaction=False)
        for call_id in ids:
            pipeline.hget(b"bull:calls:" + call_id, "returnvalue")
        values = pipeline.execute()
        return sum(1 for value, ref in zip(values, ids, strict=True) if not value or not self._is_good(value, ref))

    def _is_good(self, value: bytes, _call_id: bytes) -> bool:
        return bool(json.loads(value) == {"status": 200, "data": {"ok": True}, "error": False})

    def start_front(self, stage: Stage, variant: Variant) -> Front:
        ports = tuple(free_port() for _ in range(variant.fronts))
        for number, port in enumerate(ports):
            environment = self._environment(stage, BENCH_PORT=str(port), **variant.settings)
            stage.children.start(f"front{number}", [self._node, "front.cjs"], environment, self._home)
        stage.children.wait_until("BullMQ's fronts", lambda: all(map(accepts, ports)), START_S)
        body = json.dumps({"data": DATA}).encode()
        return Front(ports, post_request("/trigger", body), post_request("/add", body))

    def _environment(self, stage: Stage, **extra: str) -> dict[str, str]:
        return clean_environment(
            {
                "NODE_ENV": "production",
                "BENCH_WORK": self.work,
                "BENCH_REDIS_PORT": str(stage.server.port),
                "BENCH_ENDPOINT_URL": stage.endpoint_url,
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

    def versions(self) -> Mapping[str, str]:
        return {}  # of bare BullMQ only

    def variants(self, workload: Workload) -> Sequence[Variant]:
        if workload == "accept":
            return _accepting()
        if workload == "drain":
            shapes = ((1, 1, 200), (2, 1, 200))
            return [_variant(*shape, pipelines=True, sending=sending) for sending in SENDING for shape in shapes]
        return [
            _variant(processes, 16, 64, wait="map", add="bulk", sending=sending, pipelines=True, fronts=fronts)
            for sending in SENDING
            for processes in (1, 2)
            for fronts in (1, 2)
        ]

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


def _variant(
    processes: int,
    workers: int,
    places: int,
    *,
    wait: str = "",
    add: str = "",
    sending: str = "",
    pipelines: bool = False,
    fronts: int = 1,
) -> Variant:
    """Return a variant: how many worker processes, Worker objects and jobs at once in each, and front processes."""
    parts = [f"{processes} x {places}" + (f" by {workers}" if workers > 1 else "")] * bool(processes)
    parts += [f"{fronts} front{'s' * (fronts > 1)}"] * (fronts > 1 or not processes)
    parts += [f"wait by {wait}"] * bool(wait) + ["pipelined"] * pipelines + ["added in bulk"] * bool(add)
    parts += [f"record {sending}"] * bool(sending)
    settings = {
        "BENCH_CONCURRENCY": str(places),
        "BENCH_WORKERS": str(workers),
        "BENCH_WAIT": wait,
        "BENCH_ADD": add,
        "BENCH_SENDING": sending,
        "BENCH_PIPELINES": "1" if pipelines else "",
    }
    return Variant(", ".join(parts), processes, settings, fronts)


def _accepting() -> list[Variant]:
    return [_variant(0, 0, 0, add=add, fronts=fronts) for fronts in (1, 2) for add in ("bulk", "")]
