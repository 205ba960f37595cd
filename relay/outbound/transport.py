"""Performs the transfers of requests on libcurl's multi interface, driven by the gevent hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pycurl
from gevent import get_hub

from relay.domain.invocation import Outcome, Sent
from relay.outbound.decoding import CONTENT_ENCODING
from relay.outbound.egress_proxy import EgressProxy, connect_to
from relay.outbound.exchange import Exchange, Rules, UnsafeHeader
from relay.outbound.failures import classify
from relay.outbound.heads import Head
from relay.outbound.multi import HubMulti
from relay.outbound.transfer import Transfer, TransferResult
from relay.outbound.trust import Trust
from relay.process.clock import boot_time_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from gevent.hub import Hub
    from requests import PreparedRequest

    from relay.egress import AddressPolicy
    from relay.outbound.gate import Gate

# On top of the calls in flight: connections that are being closed while others take their place.
_SPARE_CONNECTIONS: Final = 64
_SCHEME_CHARS: Final = len("https://")  # an origin ends at the first slash after this many characters


class CurlTransport:
    """Performs prepared requests, each on its own: no redirects, cookies, netrc, retries or resends.

    With ``proxy``, every call goes through that proxy; no other one is ever used.

    Each hub that makes calls has a multi handle with connections of its own; a process that makes all calls on one
    thread has one.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        ca_file: str | None = None,
        max_response_bytes: int,
        max_in_flight: int,
        proxy: str | None = None,
    ) -> None:
        """``proxy`` is a URL, with user and password if the proxy needs them.

        Raises SettingsError for a ``ca_file`` that cannot be read or holds no certificate.
        """
        self._trust = Trust(ca_file)
        self._proxy = EgressProxy(proxy, policy, self._trust.path) if proxy else None
        self._rules = Rules(policy, self._trust.path, max_response_bytes, self._proxy)
        self._max_in_flight = max_in_flight
        #: Called with every exchange that has ended, before its handle is used again.
        self.observe: Callable[[Exchange], object] | None = None
        self._multis: dict[Hub, HubMulti] = {}
        self._idle: list[Exchange] = []

    def perform(self, request: PreparedRequest, *, gate: Gate, deadline_s: float, repeatable: bool) -> TransferResult:
        """Make one transfer, at most until ``deadline_s`` on the clock of ``boot_time_s``.

        Whatever the endpoint or the network does becomes the result. The request is sent only if ``gate`` lets it pass.
        """
        multi = self._multis.get(get_hub()) or self._new_multi()
        transfer = Transfer(request, gate, deadline_s, repeatable=repeatable)
        origin = transfer.url[: transfer.url.find("/", _SCHEME_CHARS)]
        lookup = multi.lookups.begin(origin, boot_time_s(), deadline_s)
        if isinstance(lookup, Outcome):
            return transfer.failed(lookup)
        opening = multi.openings.begin(origin, deadline_s, waits=lookup is None)
        if isinstance(opening, Outcome):
            return transfer.failed(opening)
        transfer.lookup, transfer.opening = lookup, opening
        outcome: Outcome | None = None
        try:
            result = self._carry_out(multi, transfer) if self._proxy is None else self._tunnelled(multi, transfer)
            outcome = result.outcome
        finally:
            if lookup is not None:
                lookup.end(outcome)
            if opening is not None:
                opening.end(is_kept=outcome is Outcome.ANSWERED)
        max_bytes = self._rules.max_response_bytes
        if len(result.body) <= max_bytes and result.head.get(CONTENT_ENCODING) is None:
            return result
        return multi.decoding.decoded(result, max_bytes, deadline_s)

    def _tunnelled(self, multi: HubMulti, transfer: Transfer) -> TransferResult:
        """Ask the proxy for one allowed address after the other, until it connects to one."""
        addresses = () if self._proxy is None else self._proxy.addresses(transfer.url, transfer.deadline_s)
        if isinstance(addresses, Outcome):
            return transfer.failed(addresses)
        if transfer.lookup is not None:
            transfer.lookup.found()
            transfer.lookup = None  # what libcurl looks up is the proxy's name
        result = TransferResult(Outcome.CONNECT_FAILED, Sent.NO)
        for address in addresses:
            transfer.connect_to = [connect_to(address, transfer.url)]
            result = self._carry_out(multi, transfer)
            if result.outcome is not Outcome.CONNECT_FAILED or transfer.gate.entered:
                break
        return result

    def _carry_out(self, multi: HubMulti, transfer: Transfer) -> TransferResult:
        exchange = self._idle.pop() if self._idle else Exchange(self._rules)
        exchange.stale = True
        while exchange.stale:  # a kept connection was closed: libcurl has dropped it, and nothing was sent
            remaining_s = transfer.deadline_s - boot_time_s()
            if remaining_s <= 0:
                return transfer.failed(Outcome.CONNECT_TIMEOUT)
            try:
                exchange.start(transfer, multi.sockets, remaining_s)
            except UnsafeHeader:
                return transfer.failed(Outcome.PREPARE_FAILED)
            code = multi.perform(exchange.easy)
        if self.observe is not None:
            self.observe(exchange)
        result = _result_of(exchange, code, transfer.gate)
        if code == 0 and exchange.reusable and len(self._idle) < self._max_in_flight:
            exchange.finish()
            self._idle.append(exchange)  # handles of failed transfers are not used again
        return result

    def close(self) -> None:
        """Close every connection. Call it when nothing is in flight, on the thread that made the calls."""
        for multi in self._multis.values():
            multi.close()
        self._multis.clear()
        self._idle.clear()
        self._trust.close()

    def _new_multi(self) -> HubMulti:
        hub = get_hub()
        multi = self._multis[hub] = HubMulti(hub, max_connections=self._max_in_flight + _SPARE_CONNECTIONS)
        return multi


def _result_of(exchange: Exchange, code: int, gate: Gate) -> TransferResult:
    if code:
        outcome, sent = classify(code, exchange.notes(entered=gate.entered))
        return TransferResult(outcome, sent, received_bytes=exchange.received_bytes)
    head = Head(exchange.header_lines)
    if not head.complete:
        return TransferResult(Outcome.CONNECTION_LOST, Sent.MAYBE)
    status = exchange.easy.getinfo(pycurl.RESPONSE_CODE)
    return TransferResult(Outcome.ANSWERED, Sent.ANSWERED, status, head, exchange.body, exchange.received_bytes)
