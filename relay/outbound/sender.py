"""Sends the request of one attempt, and returns an answer or a failure as a value."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from relay.answer.endpoint_answer import EndpointAnswer
from relay.domain.invocation import Outcome, Sent
from relay.executor.large_work import run_in_thread_if_large
from relay.outbound.transfer import TransferResult
from relay.request.rendering import OutgoingRequest
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from requests import PreparedRequest

    from relay.outbound.gate import Gate
    from relay.outbound.transport import CurlTransport


class Sender:
    """Turns a prepared request into an answer. Nothing that an endpoint or a network does makes it raise."""

    def __init__(self, transport: CurlTransport) -> None:
        self._transport = transport

    def send(self, prepared: PreparedRequest, *, gate: Gate, deadline_s: float, repeatable: bool) -> EndpointAnswer:
        """Make one attempt, at most until ``deadline_s`` (on the clock of ``boot_time_s``).

        A request that must be signed is signed with the current time. A ``repeatable`` call may use a connection that
        has been idle for longer than a second.
        """
        started_at_ms = time.time_ns() // 1_000_000
        started_ns = time.monotonic_ns()
        try:
            if isinstance(prepared, OutgoingRequest) and prepared.signing:
                run_in_thread_if_large(len(prepared.body or b""), prepared.sign, started_at_ms // 1000)
            result = self._transport.perform(prepared, gate=gate, deadline_s=deadline_s, repeatable=repeatable)
        except Exception as fault:  # noqa: BLE001 - a fault of the relay must not hide whether the request was sent
            # The fault's text may quote the request.
            event(Event.OUTBOUND_FAULT, level=logging.ERROR, kind=type(fault).__name__)
            result = _after_fault(gate)
        head = result.head
        return EndpointAnswer(
            outcome=result.outcome,
            sent=result.sent,
            status=result.status,
            content_type=head.get(b"content-type"),
            body=result.body,
            duration_ms=(time.monotonic_ns() - started_ns) // 1_000_000,
            response_bytes=result.received_bytes,
            retry_after=head.get(b"retry-after"),
            started_at_ms=started_at_ms,
        )


def _after_fault(gate: Gate) -> TransferResult:
    """Make the result of a transfer that a fault of the relay ended; shut its gate, so that nothing is sent later."""
    if gate.shut():
        return TransferResult(Outcome.PREPARE_FAILED, Sent.NO)
    return TransferResult(Outcome.CONNECTION_LOST, Sent.MAYBE)
