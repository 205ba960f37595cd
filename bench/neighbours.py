"""A relay with two webhooks, one quick and one that may be slow, and measurements of each."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from bench.calls import Request, post_request, start_callers
from bench.children import BenchError, Children
from bench.contenders.contender import DATA, Stage
from bench.contenders.relay import PLUGIN, webhook
from bench.readings import percentile
from bench.scene import Scene, start_endpoint
from relay.domain.invocation import State
from relay.store.keys import keyspace
from relay.store.keys.keyspace import SINGLE

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from bench.receipts import EndpointControl

QUICK: Final = "quick"
SLOW: Final = "slow"
START_S: Final = 40.0
ASYNC: Final = {"prefer": "respond-async"}


class Neighbours(Scene):
    """A relay with both webhooks registered."""

    def __init__(self, stage: Stage, slow: EndpointControl, **of_slow: Any) -> None:
        self.quick, self.slow = stage.endpoint, slow
        super().__init__(stage, [webhook(QUICK, self.quick.url), webhook(SLOW, slow.url, timeout=60, **of_slow)])

    def start_worker(self, group: str = "bulk", settings: Mapping[str, str] | None = None) -> None:
        """Start a worker and wait until it sweeps."""
        before = self.workers()
        super().start_worker(group, settings)
        self.stage.children.wait_until("the worker", lambda: self.workers() > before, START_S)

    def stop_worker(self, group: str) -> None:
        """Stop the worker of a lane group."""
        self.stage.children.stop(f"worker_{group}")
        self.client.delete(keyspace.shared("workers"))

    def parked(self, name: str) -> int:
        """Return how many calls of a webhook are parked."""
        return int(self.client.zcard(SINGLE.of_plugin("parked", PLUGIN, webhook=name)))

    def request(self, name: str, headers: Mapping[str, str] | None = None) -> Request:
        """Return a trigger; its answer may be to ask later."""
        fields = {"authorization": f"Bearer {self._key}", **(headers or {})}
        text = post_request(f"/v1/webhooks/{name}/trigger", json.dumps({"data": DATA}).encode(), fields)
        statuses = (202,) if headers == ASYNC else (200, 202)
        return Request(name, text.decode(), statuses)

    def bring(self, name: str, headers: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
        """Start callers that send triggers at an even rate; `summary_of` waits for their summary."""
        return start_callers(self.ports, [self.request(name, headers)], gaps="even", **options)

    def replay(self, name: str, calls: int, rate_per_s: float) -> Callable[[], dict[str, Any]]:
        """Start a replay of a webhook's calls; the returned function returns its state."""
        wanted = {"webhookId": name, "states": [State.DELIVERED]}
        job = self.ask("POST", "/v1/replays", {"filter": wanted, "max": calls, "ratePerSecond": rate_per_s})
        return lambda: dict(self.ask("GET", f"/v1/replays/{job['replayId']}"))

    def now_ms(self) -> int:
        """Return the time of the server's clock."""
        seconds, microseconds = self.client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def took_ms(self, name: str, since_ms: int, until_ms: int) -> list[float]:
        """Return how long a webhook's calls accepted between these moments took; a minute for unfinished ones."""
        refs = self.client.zrangebyscore(SINGLE.of_plugin("plugin_index", PLUGIN), since_ms, until_ms)
        pipeline = self.client.pipeline(transaction=False)
        for ref in refs:
            pipeline.hmget(SINGLE.of_ref("record", ref.decode()), "webhook", "createdAt", "finishedAt")
        rows = [row for row in pipeline.execute() if row[0] == name.encode()]
        return [float(finished) - float(created) if finished else 60_000.0 for _, created, finished in rows]


def p99(values: list[float]) -> float:
    """Return the 99th percentile; raise BenchError for no values."""
    found = percentile(values, 99)
    if found is None:
        raise BenchError("Nothing was measured.")
    return found


@contextmanager
def neighbours(folder: Path, delay_s: float, **of_slow: Any) -> Iterator[Neighbours]:
    """Make a fresh stage; the slow webhook's endpoint answers after ``delay_s``."""
    late = {QUICK: 0.0, SLOW: delay_s}
    with Children(folder) as children:
        quick, slow = (start_endpoint(children, f"endpoint_{name}", late_s) for name, late_s in late.items())
        yield Neighbours(Stage(quick, children, folder), slow, **of_slow)
