"""A stage with two webhooks, one quick and one that may be slow, and measurements of each."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final

from bench.children import ROOT, BenchError, Children, accepts, clean_environment
from bench.contenders.contender import DATA, Stage, post_request
from bench.contenders.relay import BATCH, COMMAND_S, PLUGIN, Relay, webhook
from bench.ports import free_port
from bench.receipts import EndpointControl
from bench.rounds import percentile
from bench.server import Server
from relay.invocation import State
from relay.replay.planning import Replays, Request
from relay.store import keyspace
from relay.store.key_names import key_in, partition_root
from relay.store.keyspace import SINGLE
from relay.store.limits import Limits
from relay.store.listing import Filter, Listing
from relay.store.replay_runs import ReplayRuns
from relay.store.replays import ReplayStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from relay.store.replays import ReplayJob

QUICK: Final = "quick"
SLOW: Final = "slow"
KEPT_MS: Final = 24 * 3600 * 1000
ASYNC: Final = {"prefer": "respond-async"}


class Neighbours:
    """A relay with both webhooks registered, its API running, its workers not."""

    def __init__(self, stage: Stage, quick: EndpointControl, slow: EndpointControl, **of_slow: Any) -> None:
        self.stage, self.quick, self.slow = stage, quick, slow
        self._relay = Relay()
        webhooks = [webhook(QUICK, quick.url), webhook(SLOW, slow.url, timeout=60, **of_slow)]
        (self.port,), self._key = self._relay.start_apis(stage, webhooks)

    @property
    def client(self) -> Any:
        """A client of the stage's server."""
        return self.stage.server.client

    def start_worker(self, group: str, settings: Mapping[str, str] | None = None) -> None:
        """Starts a worker and waits until it sweeps."""
        before = self.client.zcard(keyspace.workers())
        self._relay.start_worker(self.stage, group, settings=settings)
        self.stage.children.wait_until("the worker", lambda: self.client.zcard(keyspace.workers()) > before, 40)

    def stop_worker(self, group: str) -> None:
        """Stops it."""
        self.stage.children.stop(f"worker_{group}")
        self.client.delete(keyspace.workers())

    def queue(self, name: str, calls: int) -> None:
        """Queues calls in bulk."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=COMMAND_S)
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        while calls > 0:
            items = [{"webhookId": name, "data": DATA}] * min(BATCH, calls)
            connection.request("POST", "/v1/triggers", json.dumps(items), headers)
            answer = connection.getresponse()
            if answer.status != 202 or json.loads(answer.read())["rejected"]:
                raise BenchError(f"POST /v1/triggers answered {answer.status}")
            calls -= len(items)
        connection.close()

    def delivered(self) -> int:
        """Return how many calls have ended."""
        return int(self.client.zcard(key_in(partition_root(0), "expiry")))

    def parked(self, name: str) -> int:
        """Return how many calls of a webhook are parked."""
        return int(self.client.zcard(SINGLE.parked(PLUGIN, name)))

    def request(self, name: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Return a trigger's request, ready to be written to a connection."""
        fields = {"authorization": f"Bearer {self._key}", **(headers or {})}
        return post_request(f"/v1/webhooks/{name}/trigger", json.dumps({"data": DATA}).encode(), fields)

    def bring(self, name: str, headers: Mapping[str, str], **options: float) -> subprocess.Popen[bytes]:
        """Starts callers that send triggers at a rate; `summary_of` waits for their summary."""
        command = [sys.executable, "-m", "bench.paced", "--port", str(self.port)]
        for option, value in options.items():
            command += [f"--{option.replace('_', '-')}", str(value)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(self.request(name, headers))
        process.stdin.close()
        process.stdin = None
        return process

    def replay(self, name: str, calls: int, rate_per_s: float) -> Callable[[], ReplayJob]:
        """Starts a replay of a webhook's calls, however they ended; the returned function tells how far it is."""
        limits = Limits(0, 0, 0, KEPT_MS, KEPT_MS, KEPT_MS, KEPT_MS)
        store, runs = ReplayStore(self.client, limits), ReplayRuns(self.client, keep_ms=KEPT_MS, max_age_ms=KEPT_MS)
        replays = Replays(store, runs, Listing(self.client), lambda _ready: None)  # the workers' sweep finds the job
        wanted = Filter(webhook_id=name, states=frozenset({State.DELIVERED}))
        job = replays.start(PLUGIN, Request(filter=wanted, max=calls, rate_per_second=rate_per_s), caller="bench")
        return lambda: replays.get(PLUGIN, job.replay_id)

    def now_ms(self) -> int:
        """Return the time of the server's clock."""
        seconds, microseconds = self.client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def took_ms(self, name: str, since_ms: int, until_ms: int) -> list[float]:
        """Return how long a webhook's calls accepted between these moments took; a minute for unfinished ones."""
        refs = self.client.zrangebyscore(SINGLE.plugin_index(PLUGIN), since_ms, until_ms)
        pipeline = self.client.pipeline(transaction=False)
        for ref in refs:
            pipeline.hmget(SINGLE.record(ref.decode()), "webhook", "createdAt", "finishedAt")
        rows = [row for row in pipeline.execute() if row[0] == name.encode()]
        return [float(finished) - float(created) if finished else 60_000.0 for _, created, finished in rows]


def summary_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return the summary of callers that were started with `bring`."""
    out, _ = process.communicate(timeout=180)
    if process.returncode:
        raise BenchError("The callers failed.")
    found: dict[str, Any] = json.loads(out)
    return found


def p99(values: list[float]) -> float:
    """Return the 99th percentile; raises BenchError for no values."""
    found = percentile(values, 99)
    if found is None:
        raise BenchError("Nothing was measured.")
    return found


@contextmanager
def neighbours(folder: Path, delay_s: float, **of_slow: Any) -> Iterator[Neighbours]:
    """Make a fresh stage; the slow webhook's endpoint answers after ``delay_s``."""
    with Children(folder) as children:
        controls = []
        for name, late_s in ((QUICK, 0.0), (SLOW, delay_s)):
            port = free_port()
            command = [sys.executable, "-m", "bench.endpoint", "--port", str(port), "--delay-s", str(late_s)]
            children.start(f"endpoint_{name}", command, clean_environment())
            children.wait_until("the endpoint", lambda port=port: accepts(port), within_s=10)  # type: ignore[misc]
            controls.append(EndpointControl(port))
        server = Server(children, folder, "always")
        stage = Stage(server, controls[0].url, children, folder)
        yield Neighbours(stage, *controls, **of_slow)


def wait(at: Neighbours, what: str, ready: Any, within_s: float) -> float:
    """Waits until ``ready`` returns true; returns that moment, in seconds of the monotonic clock."""
    at.stage.children.wait_until(what, ready, within_s)
    return time.monotonic()
