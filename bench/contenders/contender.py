"""The interface of every contender, and the stage on which it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.children import Children
    from bench.rounds import Workload
    from bench.server import Server

#: The data of every call, for every contender: a small JSON object like those that webhooks usually carry.
DATA: Final[dict[str, Any]] = {
    "event": "appointment.created",
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
SPOT_CHECKS: Final = 200


class SkippedError(Exception):
    """A contender that cannot run on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a contender: how many worker processes and front processes, and its own settings."""

    name: str
    processes: int
    settings: Mapping[str, str] = field(default_factory=dict)
    fronts: int = 1


@dataclass(frozen=True, slots=True)
class Stage:
    """What one round runs on: a fresh server, a running endpoint, and a folder."""

    server: Server
    endpoint_url: str
    children: Children
    folder: Path


@dataclass(frozen=True, slots=True)
class Front:
    """The servers that awaited calls are sent to; the request is complete, ready to be written to a connection.

    Each front process has a port of its own; callers are spread evenly over them, as behind a load balancer.
    """

    ports: tuple[int, ...]
    request: bytes
    accept_request: bytes = b""  # the same call, answered when it is queued

    @property
    def accepting(self) -> Front:
        """The same front for calls that are answered when they are queued."""
        return Front(self.ports, self.accept_request)


class Contender(Protocol):
    """All methods raise BenchError when a process fails; ``prepare`` raises SkippedError."""

    name: str

    def versions(self) -> Mapping[str, str]: ...

    def variants(self, workload: Workload) -> Sequence[Variant]:
        """Return the variants for the trials; without trials the first one runs. Empty: no part in this workload."""

    def prepare(self, build: Path) -> None:
        """Installs what is missing under ``build``; called once, before the first round."""

    def enqueue(self, stage: Stage, calls: int) -> list[bytes]:
        """Queues the calls while no worker runs; returns their ids as the endpoint will see them."""

    def start_workers(self, stage: Stage, variant: Variant, workload: Workload) -> None: ...

    def recorded(self, stage: Stage) -> int:
        """Return how many results are recorded by now; it must be cheap, because it is polled."""

    def queued(self, stage: Stage) -> int:
        """Return how many calls are queued, while no worker runs."""

    def bad_results(self, stage: Stage, ids: Sequence[bytes]) -> int:
        """Return how many of these recorded results are not the endpoint's answer."""

    def start_front(self, stage: Stage, variant: Variant) -> Front:
        """Starts the server that awaited calls are posted to, and waits until it accepts connections."""


def post_request(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A complete POST of JSON as bytes."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
