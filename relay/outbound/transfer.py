"""One transfer, and its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from relay.domain.invocation import Outcome, Sent
from relay.outbound.heads import Head

if TYPE_CHECKING:
    from requests import PreparedRequest

    from relay.outbound.gate import Gate
    from relay.outbound.lookups import Lookup
    from relay.outbound.openings import Opening

_NO_HEAD: Final = Head()


class TransferResult(NamedTuple):
    """The result of a transfer. ``status`` is 0, ``head`` and ``body`` are empty unless the outcome is ``answered``."""

    outcome: Outcome
    sent: Sent
    status: int = 0
    head: Head = _NO_HEAD
    body: bytes = b""
    received_bytes: int = 0


class Transfer:
    """A request to send, with its gate and its deadline (on the clock of ``boot_time_s``).

    A ``repeatable`` transfer may use a connection that has been idle for longer than a second.
    """

    __slots__ = ("connect_to", "deadline_s", "gate", "lookup", "opening", "repeatable", "request", "url")

    def __init__(self, request: PreparedRequest, gate: Gate, deadline_s: float, *, repeatable: bool) -> None:
        self.request = request
        self.url = request.url or ""
        self.gate = gate
        self.deadline_s = deadline_s
        self.repeatable = repeatable
        self.lookup: Lookup | None = None  # the look-up that this transfer leads
        self.opening: Opening | None = None  # of a call over TLS
        self.connect_to: list[str] | None = None  # for CURLOPT_CONNECT_TO: where a proxy is asked to connect

    def failed(self, outcome: Outcome) -> TransferResult:
        """Return the result of a transfer without an answer."""
        return TransferResult(outcome, Sent.MAYBE if self.gate.entered else Sent.NO)
