"""The interface of every contender, and the stage on which it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from bench.calls import Request, post_request
from bench.server import Fsync, Server
from bench.wire import STAMP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.children import Children
    from bench.receipts import EndpointControl

Workload = Literal["drain", "await", "accept"]

#: The data of every call, for every contender: a small JSON object like those that webhooks usually carry.
DATA: Final[dict[str, Any]] = {
    "event": "appointment.created",
    "sentAt": STAMP.decode(),
    "id": "apt_01JAZ6W7N2",
    "startsAt": "2025-03-14T09:30:00.000Z",
    "minutes": 20,
    "patient": {"id": "pat_5512", "initials": "KM"},
    "tags": ["telehealth", "follow-up"],
    "note": "Please call ten minutes before.",
}
# Gives validation and masking real work: a schema for the data, and a secret to look for in every answer.
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["event", "id", "minutes"],
    "properties": {
        "event": {"type": "string"},
        "id": {"type": "string"},
        "minutes": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
SECRET: Final = "Bearer bench-0f4c1d5e7a9b"
START_S: Final = 40.0
SPOT_CHECKS: Final = 50
#: The webhooks that every contender calls; the endpoint answers the second late and the third with 500.
WEBHOOK: Final = "bench"
SLOW: Final = "slow"
FAILING: Final = "failing"
CHAIN: Final = "chain"
CHAIN_STEPS: Final = 2


class SkippedError(Exception):
    """A contender that cannot run on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A contender's layout made by hand: worker processes, front processes, and its own settings."""

    name: str
    processes: int
    settings: Mapping[str, str] = field(default_factory=dict)
    fronts: int = 1


@dataclass(frozen=True)
class Stage:
    """What a contender runs on: a folder, processes, an endpoint, and a fresh server if it asks for one."""

    endpoint: EndpointControl
    children: Children
    folder: Path
    fsync: Fsync = "always"

    @cached_property
    def server(self) -> Server:
        """The server, started when it is first asked for."""
        return Server(self.children, self.folder, self.fsync)


class Door(Protocol):
    """Where a running contender takes calls. Its front processes have a port each, over which callers spread evenly."""

    ports: Sequence[int]

    def awaited(self, webhook: str = WEBHOOK, plugin: int = 0) -> Request: ...

    def single(self, plugin: int = 0) -> Request:
        """Return a call that is answered when it is queued."""

    def bulk(self, count: int, plugin: int = 0) -> Request: ...

    def chain(self, plugin: int = 0) -> Request:
        """Return a call of ``CHAIN_STEPS`` requests, each of which is sent after the answer to the one before."""


class PeerDoor:
    """The front of a peer; it knows no plugins."""

    def __init__(self, *ports: int) -> None:
        self.ports: Sequence[int] = ports

    def awaited(self, webhook: str = WEBHOOK, plugin: int = 0) -> Request:  # noqa: ARG002
        return _request("/trigger", {"webhook": webhook, "data": DATA}, result=500 if webhook == FAILING else 200)

    def single(self, plugin: int = 0) -> Request:  # noqa: ARG002
        return _request("/add", {"webhook": WEBHOOK, "data": DATA}, statuses=(202,))

    def bulk(self, count: int, plugin: int = 0) -> Request:  # noqa: ARG002
        return _request("/bulk", [{"webhook": WEBHOOK, "data": DATA}] * count, statuses=(202,), calls=count)

    def chain(self, plugin: int = 0) -> Request:  # noqa: ARG002
        return _request("/trigger", {"webhook": WEBHOOK, "data": DATA, "steps": CHAIN_STEPS}, calls=CHAIN_STEPS)


def _request(path: str, value: Any, headers: Mapping[str, str] | None = None, **wanted: Any) -> Request:
    return Request("", post_request(path, json.dumps(value).encode(), headers).decode(), **wanted)


class RelayDoor:
    """The API of a relay; each plugin has a key."""

    def __init__(self, ports: Sequence[int], keys: Sequence[str]) -> None:
        self.ports: Sequence[int] = ports
        self.keys = keys

    def awaited(self, webhook: str = WEBHOOK, plugin: int = 0) -> Request:
        return self._trigger(webhook, plugin, result=500 if webhook == FAILING else 200)

    def single(self, plugin: int = 0) -> Request:
        return self._trigger(WEBHOOK, plugin, prefer="respond-async", statuses=(202,))

    def bulk(self, count: int, plugin: int = 0) -> Request:
        items = [{"webhookId": WEBHOOK, "data": DATA}] * count
        return _request("/v1/triggers", items, self._headers(plugin), statuses=(202,), calls=count)

    def chain(self, plugin: int = 0) -> Request:
        return self._trigger(CHAIN, plugin, calls=CHAIN_STEPS)

    def _trigger(self, webhook: str, plugin: int, *, prefer: str = "", **wanted: Any) -> Request:
        headers = {**self._headers(plugin), **({"prefer": prefer} if prefer else {})}
        return _request(f"/v1/webhooks/{webhook}/trigger", {"data": DATA}, headers, **wanted)

    def _headers(self, plugin: int) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[plugin % len(self.keys)]}"}


class Contender(Protocol):
    """All methods raise BenchError when a process fails; ``prepare`` raises SkippedError."""

    name: str

    def versions(self) -> Mapping[str, str]: ...

    def prepare(self, build: Path) -> None:
        """Install what is missing under ``build``; called once, before the first round."""

    def layout(self, workload: Workload) -> Layout | None:
        """Return the layout for a workload of the second table; None if it takes no part."""

    def enqueue(self, stage: Stage, calls: int) -> list[bytes]:
        """Queue the calls while no worker runs; return their ids as the endpoint will see them."""

    def start_workers(self, stage: Stage, layout: Layout, workload: Workload) -> None: ...

    def start_front(self, stage: Stage, layout: Layout) -> Door:
        """Start the front processes, and wait until they accept connections."""

    def recorded(self, stage: Stage) -> int:
        """Return how many results are recorded by now; it must be cheap, because it is polled."""

    def queued(self, stage: Stage) -> int:
        """Return how many calls are queued, while no worker runs."""

    def bad_results(self, stage: Stage, ids: Sequence[bytes], door: Door | None = None) -> int:
        """Return how many of these recorded results are not the endpoint's answer."""


class Shippable(Contender, Protocol):
    """A contender of the first table, which runs as its users would run it."""

    def ship(self, stage: Stage) -> Door:
        """Start all of it, and wait until it answers."""

    def prepare_bulk(self, stage: Stage) -> None:
        """Change to the layout that is best for bulk, if that is a different one."""
