"""This relay: as shipped, started by `relay up`; and its real processes laid out by hand, with every feature on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.children import ROOT, UP, BenchError, clean_environment
from bench.contenders.contender import (
    CHAIN,
    CHAIN_STEPS,
    DATA,
    FAILING,
    SCHEMA,
    SECRET,
    SLOW,
    START_S,
    WEBHOOK,
    Layout,
    RelayDoor,
    Stage,
    Workload,
)
from bench.ports import free_port
from bench.readings import RELAY
from relay.settings.names import API_CPU
from relay.store.keys.keyspace import SINGLE
from relay.store.keys.names import key_in, partition_root
from relay.up import processes
from relay.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.contenders.contender import Door

PROGRAMS: Final = Path(sys.executable).parent
PLUGIN: Final = "bench"
PLUGINS: Final = (PLUGIN, "clinic", "pharmacy")  # of the relay as shipped
BATCH: Final = 1_000  # the most that POST /v1/triggers takes
COMMAND_S: Final = 120.0
UP_S: Final = 120.0
API_LOOKS_S: Final = 0.05
LAYOUTS: Final = {
    "drain": Layout("2 workers", 2),
    "await": Layout("2 workers, 1 API on 1 CPU", 2, {API_CPU: "0"}),
    "accept": Layout("2 APIs, each on 1 CPU", 0, {API_CPU: "0"}, fronts=2),
}


class Relay:
    """One or two API processes, and one or two workers of the lane group that the workload uses; or `relay up`."""

    name = RELAY

    def __init__(self) -> None:
        # Keys for this run only; made here, so that all stages share them.
        self._keys = {"RELAY_TARGET_KEYS": Vault.new_key_text(), "RELAY_DATA_KEYS": Vault.new_key_text()}

    def versions(self) -> Mapping[str, str]:
        return {}

    def prepare(self, build: Path) -> None:
        pass

    def ship(self, stage: Stage) -> RelayDoor:
        """Start `relay up` with its defaults, and register the webhooks of three plugins with its commands."""
        steps = [{"webhook": WEBHOOK, "data": "input.data"}] * CHAIN_STEPS
        known = [webhook(name, stage.endpoint.url_of(name)) for name in (WEBHOOK, SLOW, FAILING)]
        return self.up(stage, [*known, {"id": CHAIN, "steps": steps}])

    def up(
        self, stage: Stage, webhooks: Sequence[Mapping[str, Any]], settings: Mapping[str, str] | None = None
    ) -> RelayDoor:
        """Start `relay up`, and register these webhooks for each of the three plugins."""
        port, data = free_port(), stage.folder / "relay"
        command = [str(PROGRAMS / "relay"), "--data-dir", str(data), "up", "--port", str(port)]
        # The bench's endpoint is on loopback, where a relay does not call by default.
        environment = clean_environment({"RELAY_EGRESS_ALLOW": "127.0.0.1", **(settings or {})})
        stage.children.start(UP, [*command, "--flower-port", str(free_port())], environment)
        log = stage.folder / f"{UP}.log"
        stage.children.wait_until("`relay up`", lambda: log.read_text().endswith("\nready\n"), UP_S)
        file = written(stage, webhooks)

        def key_of(plugin: str) -> str:
            run(("--data-dir", str(data), "webhooks", "apply", str(file), "--plugin", plugin), clean_environment())
            return _key(run(("--data-dir", str(data), *create_key(plugin)), clean_environment()))

        with ThreadPoolExecutor() as pool:
            return RelayDoor((port,), list(pool.map(key_of, PLUGINS)))

    def prepare_bulk(self, stage: Stage) -> None:
        pass

    def layout(self, workload: Workload) -> Layout:
        return LAYOUTS[workload]

    def enqueue(self, stage: Stage, calls: int) -> list[bytes]:
        door = self.start_front(stage, Layout("", 0))
        connection = HTTPConnection("127.0.0.1", door.ports[0], timeout=COMMAND_S)
        headers = {"authorization": f"Bearer {door.keys[0]}", "content-type": "application/json"}
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

    def start_workers(self, stage: Stage, layout: Layout, workload: Workload) -> None:
        group = "bulk" if workload == "drain" else "interactive"
        for number in range(1, layout.processes + 1):
            self.start_worker(stage, group, number)

    def recorded(self, stage: Stage) -> int:
        return stage.server.client.zcard(key_in(partition_root(0), "expiry"))  # has every final record, and no other

    def queued(self, stage: Stage) -> int:
        return stage.server.client.zcard(SINGLE.of_plugin("plugin_index", PLUGIN))

    def bad_results(self, stage: Stage, ids: Sequence[bytes], door: Door | None = None) -> int:
        at = door if isinstance(door, RelayDoor) else self.start_front(stage, Layout("", 0))
        connection = HTTPConnection("127.0.0.1", at.ports[0], timeout=COMMAND_S)
        bad = 0
        for call_id in ids:
            path = f"/v1/invocations/{call_id.decode()}"
            # The record of a call that the endpoint has answered may take a moment to become final.
            headers = {"authorization": f"Bearer {at.keys[0]}", "prefer": "wait=10"}
            connection.request("GET", path, headers=headers)
            record = json.loads(connection.getresponse().read())
            result = record.get("result") or {}
            if record.get("state") != "delivered" or result.get("data") != {"ok": True} or len(record["attempts"]) != 1:
                bad += 1
        connection.close()
        return bad

    def start_front(self, stage: Stage, layout: Layout) -> RelayDoor:
        ports, key = self.start_apis(stage, settings=layout.settings, count=layout.fronts)
        return RelayDoor(ports, (key,))

    def start_apis(
        self,
        stage: Stage,
        webhooks: Sequence[Mapping[str, Any]] = (),
        settings: Mapping[str, str] | None = None,
        count: int = 1,
    ) -> tuple[tuple[int, ...], str]:
        """Register webhooks (by default the bench's), make a key, start API processes; return ports and key."""
        key = self._register(stage, webhooks or [webhook(WEBHOOK, stage.endpoint.url)])
        return self.serve(stage, settings, count), key

    def serve(self, stage: Stage, settings: Mapping[str, str] | None = None, count: int = 1) -> tuple[int, ...]:
        """Start API processes, and wait until they are healthy; return their ports."""
        cpu = (settings or {}).get(API_CPU)
        ports = tuple(free_port() for _ in range(count))
        for number, port in enumerate(ports, 1):
            self._start(stage, processes.api(port=port, number=number, cpu=None if cpu is None else int(cpu)), settings)
        stage.children.wait_until("the API", lambda: all(map(_is_healthy, ports)), START_S)
        return ports

    def start_worker(
        self, stage: Stage, group: str, number: int = 1, settings: Mapping[str, str] | None = None
    ) -> None:
        """Start a worker of a lane group."""
        self._start(stage, processes.worker(group, number), settings)

    def _register(self, stage: Stage, webhooks: Sequence[Mapping[str, Any]]) -> str:
        self.command(stage, "webhooks", "apply", str(written(stage, webhooks)), "--plugin", PLUGIN)
        return _key(self.command(stage, *create_key(PLUGIN)))

    def command(self, stage: Stage, *arguments: str, within_s: float = COMMAND_S) -> bytes:
        return run(arguments, self.environment(stage), within_s)

    def _start(self, stage: Stage, process: processes.Process, settings: Mapping[str, str] | None = None) -> None:
        environment = {**self.environment(stage), **(settings or {}), **process.extra}
        for name in process.without:
            environment.pop(name, None)
        program, *arguments = process.command
        stage.children.start(process.name, [str(PROGRAMS / program), *arguments], environment)

    def environment(self, stage: Stage) -> dict[str, str]:
        return clean_environment(
            {
                "RELAY_REDIS_URL": stage.server.url(),
                "RELAY_EGRESS_ALLOW": "127.0.0.1",
                **self._keys,
            }
        )


def run(arguments: Sequence[str], environment: Mapping[str, str], within_s: float = COMMAND_S) -> bytes:
    """Run a `relay` command; return what it prints."""
    done = subprocess.run(
        [str(PROGRAMS / "relay"), *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        timeout=within_s,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"relay {' '.join(arguments)} failed: {done.stderr.decode(errors='replace')[-400:]}")
    return done.stdout


def create_key(plugin: str) -> tuple[str, ...]:
    scopes = ("--scope", "trigger", "--scope", "operate")
    return ("keys", "create", "--plugin", plugin, *scopes, "--output", "json")


def _key(told: bytes) -> str:
    return str(json.loads(told)["key"])


def written(stage: Stage, webhooks: Sequence[Mapping[str, Any]]) -> Path:
    file = stage.folder / "webhooks.json"
    file.write_text(json.dumps(webhooks))
    return file


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
