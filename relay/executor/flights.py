"""Calls in flight: claimed, on their way, not settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.executor.preparation import Prepared

if TYPE_CHECKING:
    from relay.executor.preparation import Call
    from relay.outbound.gate import Gate


@dataclass(slots=True)
class Flight:
    """A claimed call: until when it may run, its gate, and whether a stop has given it back."""

    call: Call
    holder: tuple[str, str]  # the webhook in whose name the slot is held
    token: str
    gate: Gate
    claimed_at_ms: int  # the server's clock, when the claim was answered
    claimed_at_s: float  # the same moment on this machine's clock
    released: bool = False

    @property
    def reference_id(self) -> str:
        """Whose call it is."""
        return self.call.published.reference_id


class Flights:
    """The calls of this process that are claimed and not settled."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def add(self, flight: Flight) -> None:
        """A call was claimed."""
        self._flights[flight.reference_id] = flight

    def end(self, reference_id: str) -> Flight:
        """A call was settled, or given back."""
        return self._flights.pop(reference_id)

    def shut_unsent(self) -> dict[str, list[str]]:
        """Shut the gates of calls that have not left: their reference ids by token, to be given back."""
        by_token: dict[str, list[str]] = {}
        for flight in list(self._flights.values()):
            if isinstance(flight.call, Prepared) and flight.gate.shut():
                flight.released = True
                by_token.setdefault(flight.token, []).append(flight.reference_id)
        return by_token


def holder_of(call: Call) -> tuple[str, str]:
    """Plugin and webhook of a call."""
    return call.published.plugin, call.published.webhook_id
