"""The callers of a soak: the webhooks of three plugins, and steady traffic to them that keeps the accepted ids."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import requests

from bench.children import BenchError
from bench.contenders.contender import CHAIN, CHAIN_STEPS, DATA, FAILING, SLOW, WEBHOOK, RelayDoor
from bench.contenders.relay import PLUGINS, webhook

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.receipts import EndpointControl

CALLERS: Final = 24
UNREACHABLE, RETRIED, STEP, ASKING, TOLD = "unreachable", "retried", "step", "asking", "told"
NAMES: Final = (WEBHOOK, STEP, SLOW, FAILING, UNREACHABLE, RETRIED, CHAIN, ASKING, TOLD)
ATTEMPTS: Final = 3
BULK: Final = 10
#: What callers do: its weight, the webhook, whether they wait, the status of the result.
CALLS: Final = (
    (35, WEBHOOK, True, 200),
    (25, WEBHOOK, False, 200),
    (5, SLOW, True, 200),
    (5, FAILING, True, 500),
    (5, UNREACHABLE, True, 0),
    (5, RETRIED, False, 500),
    (5, CHAIN, True, 200),
    (5, ASKING, False, 200),
)
READS: Final = ("/v1/invocations?limit=50", "/v1/invocations?limit=50&failed=true", "/v1/stats", "/v1/groups")


def registrations(endpoint: EndpointControl, nowhere: int, timeout_s: int = 20) -> list[dict[str, Any]]:
    """Return the webhooks of each plugin; nothing listens on the port ``nowhere``; the timeout is that of the first."""
    retry = {"attempts": ATTEMPTS, "initial": 1, "statuses": [500]}
    return [
        webhook(WEBHOOK, endpoint.url, timeout=timeout_s),
        webhook(STEP, endpoint.url),
        webhook(SLOW, endpoint.url_of(SLOW)),
        webhook(FAILING, endpoint.url_of(FAILING)),
        webhook(UNREACHABLE, f"http://127.0.0.1:{nowhere}/"),
        webhook(RETRIED, endpoint.url_of(f"retried/{FAILING}"), retry=retry),
        {"id": CHAIN, "steps": [{"webhook": STEP, "data": "input.data"}] * CHAIN_STEPS},
        webhook(ASKING, endpoint.url, callback=TOLD),
        {"id": TOLD, "url": endpoint.url, "method": "POST", "hidden": True},
    ]


class Traffic:
    """Callers of three plugins, each with its own pace; they keep the ids that were accepted, by webhook."""

    def __init__(self, door: RelayDoor, rate: float) -> None:
        self._url, self._keys, self._pause_s = f"http://127.0.0.1:{door.ports[0]}", door.keys, CALLERS / rate
        self.ids: defaultdict[str, set[str]] = defaultdict(set)
        self.faults: Counter[str] = Counter()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._call_on, args=(at,)) for at in range(CALLERS)]
        self._acts: list[Callable[[int, requests.Session], None]] = [self._single, self._bulk, self._twice, self._read]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def ask(self, plugin: int, session: requests.Session, method: str, path: str, **options: Any) -> Any:
        """Send a request; return the JSON of the answer, and count it as a fault if it is an error."""
        headers = {"authorization": f"Bearer {self._keys[plugin]}", **options.pop("headers", {})}
        answer = session.request(method, self._url + path, headers=headers, timeout=60, **options)
        if answer.status_code not in {200, 202, 410}:  # 410: it was deleted meanwhile
            raise BenchError(f"{method} {path.partition('?')[0]} answered {answer.status_code}: {answer.text[:200]}")
        return answer.json()

    def _call_on(self, caller: int) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._ended.wait(self._pause_s * random.uniform(0.5, 1.5)):
                act = random.choices(self._acts, (sum(call[0] for call in CALLS), 1, 4, 5))[0]
                try:
                    act(caller % len(PLUGINS), session)
                except (BenchError, requests.RequestException, KeyError) as error:
                    self._note(f"{type(error).__name__}: {error}")

    def _single(self, plugin: int, session: requests.Session) -> None:
        _, name, awaited, status = random.choices(CALLS, [call[0] for call in CALLS])[0]
        headers = {} if awaited else {"prefer": "respond-async"}
        told = self.ask(plugin, session, "POST", _path(name), json={"data": DATA}, headers=headers)
        self._accepted(name, told["referenceId"])
        if told.get("status", status) != status:
            self._note(f"{name}: status {told['status']}")

    def _bulk(self, plugin: int, session: requests.Session) -> None:
        items = [{"webhookId": WEBHOOK, "data": DATA}] * BULK
        told = self.ask(plugin, session, "POST", "/v1/triggers", json=items)
        self._accepted(WEBHOOK, *(each["referenceId"] for each in told["results"]))

    def _twice(self, plugin: int, session: requests.Session) -> None:
        headers = {"idempotency-key": uuid4().hex}
        tries = [
            self.ask(plugin, session, "POST", _path(WEBHOOK), json={"data": DATA}, headers=headers) for _ in range(2)
        ]
        self._accepted(WEBHOOK, *{told["referenceId"] for told in tries})
        if tries[0]["referenceId"] != tries[1]["referenceId"]:
            self._note("an Idempotency-Key was accepted twice")

    def _read(self, plugin: int, session: requests.Session) -> None:
        listed = self.ask(plugin, session, "GET", random.choice(READS))
        for each in listed.get("invocations", ())[:1]:
            self.ask(plugin, session, "GET", f"/v1/invocations/{each['referenceId']}")

    def _accepted(self, name: str, *ids: str) -> None:
        with self._lock:
            self.ids[name].update(ids)

    def _note(self, fault: str) -> None:
        with self._lock:
            self.faults[fault] += 1


def _path(name: str) -> str:
    return f"/v1/webhooks/{name}/trigger"
