"""Calls an endpoint through the real sender, with defaults for what a test does not care about."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest import mock

import pycurl
import requests

from relay.egress import AddressPolicy
from relay.outbound import egress_proxy, transport
from relay.outbound.exchange import Exchange
from relay.outbound.gate import Gate
from relay.outbound.sender import Sender
from relay.outbound.transport import CurlTransport
from relay.process.clock import boot_time_s

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.answer.endpoint_answer import EndpointAnswer
    from relay.outbound.exchange import Rules

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
def calling(
    policy: AddressPolicy = LOOPBACK_ALLOWED, *, resolve: Sequence[str] = (), **options: object
) -> Iterator[Caller]:
    """Make a caller with its own transport; ``options`` are those of CurlTransport.

    ``resolve`` takes CURLOPT_RESOLVE entries, ``host:port:address,address``, as the answers of the resolver.
    """
    given = {"max_response_bytes": 1 << 20, "max_in_flight": 512, **options}
    with resolving(resolve) if resolve else contextlib.nullcontext():
        caller_transport = CurlTransport(policy, **given)  # type: ignore[arg-type]
        try:
            yield Caller(caller_transport)
        finally:
            caller_transport.close()


@contextlib.contextmanager
def resolving(entries: Sequence[str]) -> Iterator[None]:
    """Let libcurl and the proxy's resolver find these addresses, and no others."""
    found = {}
    for entry in entries:
        host, port, addresses = entry.split(":", 2)
        found[host, int(port)] = tuple(addresses.split(","))

    def exchange(rules: Rules) -> Exchange:
        made = Exchange(rules)
        made.easy.setopt(pycurl.RESOLVE, list(entries))
        return made

    with (
        mock.patch.object(transport, "Exchange", exchange),
        mock.patch.object(egress_proxy, "_look_up", lambda host, port, _within_s: found[host, port]),
    ):
        yield
