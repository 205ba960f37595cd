"""Calls in flight: claimed, and not settled yet."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from relay.executor.preparation import Prepared

if TYPE_CHECKING:
    from relay.answer.endpoint_answer import EndpointAnswer
    from relay.executor.preparation import Call
    from relay.outbound.gate import Gate
    from relay.telemetry.otlp import OtlpSpan


#: Plugin and webhook of a record.
webhook_of: Final = attrgetter("plugin", "webhook_id")


@dataclass(slots=True)
class ActiveCall:
    """A claimed call, with its gate, its answer, and whether a stop has given it back."""

    call: Call
    webhook: tuple[str, str]  # the webhook in whose name the slot is held
    claim_token: str
    gate: Gate
    claimed_at_ms: int  # the server's clock, when the claim was answered
    claimed_at_s: float  # the same moment on this machine's clock
    waited_ms: int | None = None  # how long it had been ready to be sent; for a first attempt only
    released: bool = False
    answer: EndpointAnswer | None = None  # once the attempt has ended
    span: OtlpSpan | None = None  # of the attempt, if it is traced

    @property
    def reference_id(self) -> str:
        """The reference id of its invocation."""
        return self.call.record.reference_id


class ActiveCalls:
    """The calls of this process that are claimed and not settled."""

    def __init__(self) -> None:
        self._active_calls: dict[str, ActiveCall] = {}

    def __len__(self) -> int:
        """Count the calls that a stop waits for; not those that it has given back, even if their connections hang."""
        return sum(not active.released for active in self._active_calls.values())

    def add(self, active: ActiveCall) -> None:
        """Add a call that was claimed."""
        self._active_calls[active.reference_id] = active

    def of(self, reference_id: str) -> ActiveCall | None:
        """Return the call with this reference id; None if it has ended."""
        return self._active_calls.get(reference_id)

    def end(self, reference_id: str) -> ActiveCall | None:
        """Remove and return a call that was settled or given back; return None if it had ended before."""
        return self._active_calls.pop(reference_id, None)

    def shut_unsent(self) -> dict[str, list[str]]:
        """Shut the gates of the unsent calls; return their reference ids by claim token, to be given back."""
        by_token: dict[str, list[str]] = {}
        for active in list(self._active_calls.values()):
            if isinstance(active.call, Prepared) and active.gate.shut():
                active.released = True
                by_token.setdefault(active.claim_token, []).append(active.reference_id)
        return by_token
