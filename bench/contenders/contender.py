"""What every contender can do, and the stage it does it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.children import Children
    from bench.rounds import Workload
    from bench.server import Server

#: What every call carries, to every contender: a small JSON object such as webhooks are made of.
DATA: Final[dict[str, Any]] = {
    "event": "appointment.created",
    "id": "apt_01JAZ6W7N2",
    "startsAt": "2025-03-14T09:30:00.000Z",
    "minutes": 20,
    "patient": {"id": "pat_5512", "initials": "KM"},
    "tags": ["telehealth", "follow-up"],
    "note": "Please call ten minutes before.",
}
# Validation and masking have real work: a schema for the data, and a secret to look for in every answer.
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
    """One way to run a contender: how many worker processes, and its own settings."""

    name: str
    processes: int
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """A fresh server, a running endpoint, and a folder: what one round is played on."""

    server: Server
    endpoint_url: str
    children: Children
    folder: Path


@dataclass(frozen=True, slots=True)
class Front:
    """Where awaited calls go: the request is complete, ready to be written to a keep-alive connection."""

    port: int
    request: bytes
    accept_request: bytes = b""  # the same call, answered when it is queued

    @property
    def accepting(self) -> Front:
        """The same front for calls that nobody awaits."""
        return Front(self.port, self.accept_request)


class Contender(Protocol):
    """All methods raise BenchError when a process fails; ``prepare`` raises SkippedError."""

    name: str

    def versions(self) -> Mapping[str, str]: ...

    def variants(self, workload: Workload) -> Sequence[Variant]:
        """What the trials try; the first is taken where there are none. Empty: it does not play this workload."""

    def prepare(self, build: Path) -> None:
        """Once, before the first round: installs what is missing under ``build``."""

    def enqueue(self, stage: Stage, calls: int) -> list[bytes]:
        """Queues the calls with no worker running; their ids as the endpoint will see them."""

    def start_workers(self, stage: Stage, variant: Variant, workload: Workload) -> None: ...

    def recorded(self, stage: Stage) -> int:
        """How many results are recorded by now; cheap, because it is polled."""

    def queued(self, stage: Stage) -> int:
        """How many calls are queued, while no worker runs."""

    def bad_results(self, stage: Stage, ids: Sequence[bytes]) -> int:
        """How many of these recorded results are not the endpoint's answer."""

    def start_front(self, stage: Stage, variant: Variant) -> Front:
        """Starts what awaited calls are posted to, and waits until it accepts connections."""


def post_request(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A complete POST of JSON as bytes."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
