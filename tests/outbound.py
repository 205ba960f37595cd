"""Calls an endpoint through the real sender, with defaults for what a test does not care about."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

from relay.egress import AddressPolicy
from relay.outbound.gate import Gate
from relay.outbound.sender import Sender
from relay.outbound.transport import CurlTransport
from relay.process.clock import boot_time_s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.answer.endpoint_answer import EndpointAnswer

LOOPBACK_ALLOWED = AddressPolicy(allow=["127.0.0.0/8", "[::1]"])


@dataclass
class Caller:
    """A sender on loopback; ``call`` makes one attempt."""

    transport: CurlTransport

    def call(
        self,
        url: str,
        body: bytes | None = b'{"n":1}',
        *,
        method: str = "POST",
        headers: dict[str, str] | None = None,
        timeout_s: float = 5.0,
        repeatable: bool = False,
        gate: Gate | None = None,
        reference_id: str = "ref-1",
    ) -> EndpointAnswer:
        deadline_s = boot_time_s() + timeout_s
        given = {"webhook-id": reference_id, **(headers or {})}
        prepared = requests.Request(method, url, data=body, headers=given).prepare()
        prepared.url = url  # requests rewrites escapes and dot segments; the relay sets the URL from its parts
        return Sender(self.transport).send(
            prepared, gate=gate or Gate(deadline_s), deadline_s=deadline_s, repeatable=repeatable
        )


@contextlib.contextmanager
def calling(policy: AddressPolicy = LOOPBACK_ALLOWED, **options: object) -> Iterator[Caller]:
    """Make a caller with its own transport; ``options`` are those of CurlTransport."""
    transport = CurlTransport(policy, **options)  # type: ignore[arg-type]
    try:
        yield Caller(transport)
    finally:
        transport.close()
