"""This relay: its real processes and command lines, with every feature on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bench.children import ROOT, BenchError, clean_environment
from bench.contenders.contender import DATA, SCHEMA, SECRET, START_S, Front, Stage, Variant, post_request
from bench.ports import free_port
from bench.rounds import RELAY
from relay.settings.names import API_CPU
from relay.store.key_names import key_in, partition_root
from relay.store.keyspace import SINGLE
from relay.up import processes
from relay.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.rounds import Workload

PROGRAMS: Final = Path(sys.executable).parent
PLUGIN: Final = "bench"
WEBHOOK: Final = "bench-call"
BATCH: Final = 1_000  # the most that POST /v1/triggers takes
KEYS_CREATE: Final = f"keys create --plugin {PLUGIN} --scope trigger --scope operate --output json".split()
COMMAND_S: Final = 60.0
API_LOOKS_S: Final = 0.05
WORKER_COUNTS: Final = {1: "1 worker", 2: "2 workers"}


class Relay:
    """One or two API processes, and one or two workers of the lane group that the workload uses."""

    name = RELAY

    def __init__(self) -> None:
        # Keys for this run only; made here, so that all stages share them.
        self._keys = {"RELAY_TARGET_KEYS": Vault.new_key_text(), "RELAY_DATA_KEYS": Vault.new_key_text()}

    def versions(self) -> Mapping[str, str]:
        return {}

    def variants(self, workload: Workload) -> Sequence[Variant]:
        if workload == "drain":
            return [Variant(name, workers) for workers, name in WORKER_COUNTS.items()]
        counts = {0: ""} if workload == "accept" else WORKER_COUNTS
        return [
            Variant(", ".join(filter(None, [label, apis, *where])), workers, settings, fronts)
            for workers, label in counts.items()
            for fronts, apis in ((1, "1 API"), (2, "2 APIs"))
            for where, settings in ((["each on 1 CPU"], {API_CPU: "0"}), ([], {}))
        ]

    def prepare(self, build: Path) -> None:
        pass

    def enqueue(self, stage: Stage, calls: int) -> list[bytes]:
        (port,), key = self.start_apis(stage)
        connection = HTTPConnection("127.0.0.1", port, timeout=COMMAND_S)
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        ids: list[bytes] = []
        while len(ids) < calls:
            items = [{"webhookId": WEBHOOK, "data": DATA}] * min(BATCH, calls - len(ids))
            connection.request("POST", "/v1/triggers", json.dumps(items), headers)
            answer = connection.getresponse()
            value = json.loads(answer.read())
            if answer.status != 202 or value["rejected"]:
                raise BenchError(f"POST /v1/triggers answered {answer.status}")
            ids += [each["referenceId"].encode() for each in value["results"]]
        connection.close()
        stage.children.stop("api")
        return ids

    def start_workers(self, stage: Stage, variant: Variant, workload: Workload) -> None:
        group = "bulk" if workload == "drain" else "interactive"
        for number in range(1, variant.processes + 1):
            self.start_worker(stage, group, number)

    def recorded(self, stage: Stage) -> int:
        return stage.server.client.zcard(key_in(partition_root(0), "expiry"))  # has every final record, and no other

    def queued(self, stage: Stage) -> int:
        return stage.server.client.zcard(SINGLE.plugin_index(PLUGIN))

    def bad_results(self, stage: Stage, ids: Sequence[bytes]) -> int:
        (port,), key = self.start_apis(stage)
        connection = HTTPConnection("127.0.0.1", port, timeout=COMMAND_S)
        bad = 0
        for call_id in ids:
            path = f"/v1/invocations/{call_id.decode()}"
            connection.request("GET", path, headers={"authorization": f"Bearer {key}"})
            record = json.loads(connection.getresponse().read())
            result = record.get("result") or {}
            if record.get("state") != "delivered" or result.get("data") != {"ok": True} or len(record["attempts"]) != 1:
                bad += 1
        connection.close()
        return bad

    def start_front(self, stage: Stage, variant: Variant) -> Front:
        ports, key = self.start_apis(stage, settings=variant.settings, count=variant.fronts)
        body = json.dumps({"data": DATA}).encode()
        headers = {"authorization": f"Bearer {key}"}
        path = f"/v1/webhooks/{WEBHOOK}/trigger"
        return Front(
            ports,
            post_request(path, body, headers),
            post_request(path, body, {**headers, "prefer": "respond-async"}),
        )

    def start_apis(
        self,
        stage: Stage,
        webhooks: Sequence[Mapping[str, Any]] = (),
        settings: Mapping[str, str] | None = None,
        count: int = 1,
    ) -> tuple[tuple[int, ...], str]:
        """Register webhooks (by default the tournament's), make a key, start API processes; return ports and key."""
        key = self._register(stage, webhooks or [webhook(WEBHOOK, stage.endpoint_url)])
        cpu = (settings or {}).get(API_CPU)
        ports = tuple(free_port() for _ in range(count))
        for number, port in enumerate(ports, 1):
            self._start(stage, processes.api(port=port, number=number, cpu=None if cpu is None else int(cpu)), settings)
        stage.children.wait_until("the API", lambda: all(map(_is_healthy, ports)), START_S)
        return ports, key

    def start_worker(
        self, stage: Stage, group: str, number: int = 1, settings: Mapping[str, str] | None = None
    ) -> None:
        """Starts a worker of a lane group."""
        self._start(stage, processes.worker(group, number), settings)

    def _register(self, stage: Stage, webhooks: Sequence[Mapping[str, Any]]) -> str:
        file = stage.folder / "webhooks.json"
        file.write_text(json.dumps(webhooks))
        self.command(stage, "webhooks", "apply", str(file), "--plugin", PLUGIN)
        made = self.command(stage, *KEYS_CREATE)
        return str(json.loads(made)["key"])

    def command(self, stage: Stage, *arguments: str) -> bytes:
        done = subprocess.run(
            [str(PROGRAMS / "relay"), *arguments],
            cwd=ROOT,
            env=self._environment(stage),
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"relay {' '.join(arguments[:2])} failed: {done.stderr.decode(errors='replace')[-400:]}")
        return done.stdout

    def _start(self, stage: Stage, process: processes.Process, settings: Mapping[str, str] | None = None) -> None:
        environment = {**self._environment(stage), **(settings or {}), **process.extra}
        for name in process.without:
            environment.pop(name, None)
        program, *arguments = process.command
        stage.children.start(process.name, [str(PROGRAMS / program), *arguments], environment)

    def _environment(self, stage: Stage) -> dict[str, str]:
        return clean_environment(
            {
                "RELAY_REDIS_URL": stage.server.url(),
                "RELAY_EGRESS_ALLOW": urlsplit(stage.endpoint_url).hostname or "",
                **self._keys,
            }
        )


def webhook(name: str, url: str, **fields: Any) -> dict[str, Any]:
    """Return a registration that gives validation and masking real work."""
    return {
        "id": name,
        "url": url,
        "method": "POST",
        "headers": {"Authorization": SECRET},
        "dataSchema": SCHEMA,
        **fields,
    }


def _is_healthy(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=COMMAND_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        time.sleep(API_LOOKS_S)
        return False
    finally:
        connection.close()
