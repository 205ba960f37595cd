"""Sends one attempt's request and says what came of it, always as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.outbound.answer import Answer

if TYPE_CHECKING:
    from requests import PreparedRequest

    from relay.outbound.gate import Gate
    from relay.outbound.transport import CurlTransport

__all__ = ["Answer", "Sender"]


class Sender:
    """Turns a prepared request into an answer. Nothing that an endpoint or a network does makes it raise."""

    def __init__(self, transport: CurlTransport) -> None:
        self._transport = transport

    def send(self, prepared: PreparedRequest, *, gate: Gate, deadline_s: float, repeatable: bool) -> Answer:
        """Perform one attempt, at most until ``deadline_s`` (on the clock of ``boot_time_s``)."""
        raise NotImplementedError
