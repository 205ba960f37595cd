"""A stage with a relay: webhooks registered, API running, workers started on demand."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final

import trustme

from bench.children import BenchError, Children, accepts, clean_environment
from bench.contenders.contender import DATA, START_S, Stage
from bench.contenders.relay import COMMAND_S, WEBHOOK, Relay, webhook
from bench.ports import free_port
from bench.receipts import EndpointControl
from bench.server import Server
from relay.store import keyspace
from relay.store.key_names import key_in, partition_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

BATCH_BYTES: Final = 4 << 20
PATIENCE_S: Final = 240.0


class Scene:
    """A relay on a stage. ``names`` and ``chains`` are registered besides the webhook of the tournament."""

    def __init__(
        self,
        stage: Stage,
        endpoint: EndpointControl,
        *,
        precedence: bool,
        names: Sequence[str] = (),
        chains: Sequence[Mapping[str, Any]] = (),
        settings: Mapping[str, str] | None = None,
        apis: int = 1,
    ) -> None:
        self.stage, self.endpoint = stage, endpoint
        self.relay = Relay()
        self._precedence = precedence
        self._settings = dict(settings or {})
        self._workers = 0
        known = [*(webhook(name, stage.endpoint_url) for name in (WEBHOOK, *names)), *chains]
        self.ports, key = self.relay.start_apis(stage, known, self._settings, apis)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def measure(self) -> dict[str, float]:
        """Begin to measure: note the processor time that the processes have used so far."""
        if self._precedence:
            self.stage.children.take_precedence()
        return self.stage.children.cpu_s()

    def post(self, body: bytes) -> None:
        """Send one bulk request of triggers; all of them have to be accepted."""
        connection = HTTPConnection("127.0.0.1", self.ports[0], timeout=COMMAND_S)
        self.post_on(connection, body)
        connection.close()

    def post_on(self, connection: HTTPConnection, body: bytes) -> None:
        connection.request("POST", "/v1/triggers", body, self._headers)
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != 202 or b'"rejected":0' not in told[:64]:
            raise BenchError(f"POST /v1/triggers answered {answer.status}: {told[:200]!r}")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request to the API; return the JSON of its answer, which must be no error."""
        connection = HTTPConnection("127.0.0.1", self.ports[0], timeout=COMMAND_S)
        connection.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = connection.getresponse()
        told = answer.read()
        connection.close()
        if answer.status >= 300:
            raise BenchError(f"{method} {path} answered {answer.status}: {told[:200]!r}")
        return json.loads(told)

    def queue(self, calls: int, names: Sequence[str] = (WEBHOOK,), data: Any = DATA) -> None:
        """Queues calls, alternating between the named webhooks."""
        each_bytes = len(json.dumps(data))
        batch = max(1, min(1_000, BATCH_BYTES // each_bytes))
        for start in range(0, calls, batch):
            numbers = range(start, min(start + batch, calls))
            self.post(json.dumps([{"webhookId": names[at % len(names)], "data": data} for at in numbers]).encode())

    def ended(self) -> int:
        """Return how many invocations are final."""
        return int(self.stage.server.client.zcard(key_in(partition_root(0), "expiry")))

    def start_worker(self, group: str = "bulk") -> None:
        self._workers += 1
        self.relay.start_worker(self.stage, group, self._workers, self._settings)

    def workers(self) -> int:
        """Return how many workers have a heartbeat."""
        return int(self.stage.server.client.zcard(keyspace.workers()))

    def await_workers(self, count: int) -> None:
        """Waits until ``count`` workers have a heartbeat."""
        self._wait("the workers", lambda: self.workers() >= count, START_S)

    def drain(self, calls: int, *, workers: int = 1, receipts: int | None = None) -> float:
        """Starts workers and waits until ``calls`` more invocations have ended; returns invocations a second."""
        before = self.ended()
        self.endpoint.reset()
        for _ in range(workers):
            self.start_worker()
        return self.watch(calls, before, calls if receipts is None else receipts)

    def watch(self, calls: int, before: int, receipts: int) -> float:
        """Waits until ``calls`` more than ``before`` have ended, with ``receipts`` receipts; returns calls a second."""
        self._wait("the first receipt", lambda: self.endpoint.receipts().receipts > 0, START_S)
        self.measure()
        self._wait("the last end", lambda: self.ended() - before >= calls, PATIENCE_S)
        end_s = time.monotonic()
        found = self.endpoint.receipts()
        if found.distinct != receipts or found.doubled:
            raise BenchError(f"{found.distinct} receipts of {receipts}, {found.doubled} doubled")
        return calls / (end_s - (found.first_s or 0.0))

    def stop_workers(self) -> None:
        self.stage.children.stop("worker")

    def _wait(self, what: str, ready: Any, within_s: float) -> None:
        self.stage.children.wait_until(what, ready, within_s)


class Scenes:
    """Makes a fresh scene for each measurement."""

    def __init__(self, folder: Path, *, precedence: bool) -> None:
        self._folder = folder
        self._precedence = precedence
        self._number = 0

    @contextmanager
    def scene(self, *, delay_s: float = 0.0, tls: bool = False, **options: Any) -> Iterator[Scene]:
        """Make a relay whose endpoint answers after ``delay_s``, with TLS if wanted."""
        self._number += 1
        folder = self._folder / f"{self._number:03d}"
        port, tls_port = free_port(), free_port()
        command = [sys.executable, "-m", "bench.endpoint", "--port", str(port), "--delay-s", str(delay_s)]
        with Children(folder) as children:
            if tls:
                settings = {"RELAY_CA_FILE": str(_certificate(folder)), "RELAY_EGRESS_PORTS": str(tls_port)}
                options["settings"] = {**options.get("settings", {}), **settings}
                command += ["--tls-port", str(tls_port), "--certificate", str(folder / "endpoint.pem")]
            children.start("endpoint", command, clean_environment())
            children.wait_until("the endpoint", lambda: accepts(port), within_s=START_S)
            control = EndpointControl(port)
            url = f"https://127.0.0.1:{tls_port}/hooks/bench" if tls else control.url
            stage = Stage(Server(children, folder, "always"), url, children, folder)
            yield Scene(stage, control, precedence=self._precedence, **options)


def _certificate(folder: Path) -> Path:
    """Writes the endpoint's certificate with its key; returns the file of the authority that issued it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "endpoint.pem"))
    return folder / "authority.pem"
