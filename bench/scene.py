"""A relay laid out by hand: webhooks registered, server and API running, workers started on demand."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final

import trustme

from bench.children import BenchError, Children, accepts, clean_environment
from bench.contenders.contender import DATA, START_S, WEBHOOK, Stage
from bench.contenders.relay import COMMAND_S, Relay, webhook
from bench.ports import free_port
from bench.receipts import EndpointControl
from relay.store.keys import keyspace
from relay.store.keys.names import key_in, partition_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

BATCH_BYTES: Final = 4 << 20
PATIENCE_S: Final = 240.0


class Scene:
    """A relay with these webhooks; its server and API run, its workers only when they are started."""

    def __init__(
        self,
        stage: Stage,
        webhooks: Sequence[Mapping[str, Any]],
        settings: Mapping[str, str] | None = None,
        apis: int = 1,
    ) -> None:
        self.stage, self.endpoint = stage, stage.endpoint
        self.relay = Relay()
        self._settings = dict(settings or {})
        self._workers = 0
        self.ports, self._key = self.relay.start_apis(stage, webhooks, self._settings, apis)
        self._headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}

    @property
    def client(self) -> Any:
        """A client of the server."""
        return self.stage.server.client

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
        """Queue calls, alternating between the named webhooks."""
        each_bytes = len(json.dumps(data))
        batch = max(1, min(1_000, BATCH_BYTES // each_bytes))
        for start in range(0, calls, batch):
            numbers = range(start, min(start + batch, calls))
            self.post(json.dumps([{"webhookId": names[at % len(names)], "data": data} for at in numbers]).encode())

    def ended(self) -> int:
        """Return how many invocations are final."""
        return int(self.client.zcard(key_in(partition_root(0), "expiry")))

    def start_worker(self, group: str = "bulk", settings: Mapping[str, str] | None = None) -> None:
        self._workers += 1
        self.relay.start_worker(self.stage, group, self._workers, {**self._settings, **(settings or {})})

    def workers(self) -> int:
        """Return how many workers have a heartbeat."""
        return int(self.client.zcard(keyspace.shared("workers")))

    def await_workers(self, count: int) -> None:
        """Wait until ``count`` workers have a heartbeat."""
        self.wait("the workers", lambda: self.workers() >= count, START_S)

    def drain(self, calls: int, *, workers: int = 1, receipts: int | None = None) -> float:
        """Start workers and wait until ``calls`` more invocations have ended; return invocations a second."""
        before = self.ended()
        self.endpoint.reset()
        for _ in range(workers):
            self.start_worker()
        return self.watch(calls, before, calls if receipts is None else receipts)

    def watch(self, calls: int, before: int, receipts: int) -> float:
        """Wait until ``calls`` more than ``before`` have ended, with ``receipts`` receipts; return calls a second."""
        self.wait("the first receipt", lambda: self.endpoint.progress().receipts > 0, START_S)
        end_s = self.wait("the last end", lambda: self.ended() - before >= calls, PATIENCE_S)
        found = self.endpoint.receipts()
        if found.distinct != receipts or found.doubled:
            raise BenchError(f"{found.distinct} receipts of {receipts}, {found.doubled} doubled")
        return calls / (end_s - (found.first_s or 0.0))

    def stop_workers(self) -> None:
        self.stage.children.stop("worker")

    def wait(self, what: str, ready: Callable[[], bool], within_s: float) -> float:
        """Wait until ``ready`` returns true; return that moment, in seconds of the monotonic clock."""
        self.stage.children.wait_until(what, ready, within_s)
        return time.monotonic()


class Scenes:
    """Makes a fresh scene for each measurement."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    @contextmanager
    def scene(
        self,
        *,
        delay_s: float = 0.0,
        tls: bool = False,
        names: Sequence[str] = (),
        chains: Sequence[Mapping[str, Any]] = (),
        settings: Mapping[str, str] | None = None,
        apis: int = 1,
    ) -> Iterator[Scene]:
        """Make a relay with the bench's webhook and others, whose endpoint answers late or with TLS if wanted."""
        self._number += 1
        folder, tls_port = self._folder / f"{self._number:03d}", free_port()
        with Children(folder) as children:
            options: list[str] = []
            if tls:
                given = {"RELAY_CA_FILE": str(_certificate(folder)), "RELAY_EGRESS_PORTS": str(tls_port)}
                settings = {**(settings or {}), **given}
                options = ["--tls-port", str(tls_port), "--certificate", str(folder / "endpoint.pem")]
            control = start_endpoint(children, "endpoint", delay_s, *options)
            url = f"https://127.0.0.1:{tls_port}/hooks/bench" if tls else control.url
            known = [*(webhook(name, url) for name in (WEBHOOK, *names)), *chains]
            yield Scene(Stage(control, children, folder), known, settings, apis)


def start_endpoint(children: Children, name: str, delay_s: float, *options: str) -> EndpointControl:
    """Start an endpoint that answers after ``delay_s``."""
    port = free_port()
    command = [sys.executable, "-m", "bench.endpoint", "--port", str(port), "--delay-s", str(delay_s), *options]
    children.start(name, command, clean_environment())
    children.wait_until("the endpoint", lambda: accepts(port), within_s=START_S)
    return EndpointControl(port)


def _certificate(folder: Path) -> Path:
    """Write the endpoint's certificate with its key; return the file of the authority that issued it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "endpoint.pem"))
    return folder / "authority.pem"
