"""Calls in flight: claimed, and not settled yet."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from relay.executor.preparation import Prepared
from relay.process.clock import boot_time_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.answer.endpoint_answer import EndpointAnswer
    from relay.executor.preparation import Call
    from relay.executor.slots import Slots
    from relay.executor.watch import CallWatch
    from relay.outbound.gate import Gate
    from relay.store.ledger.transitions import Settlement
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
    """The calls of this process that are claimed and not settled; each holds a slot, and is watched."""

    def __init__(self, slots: Slots, watch: CallWatch) -> None:
        self._slots = slots
        self._watch = watch
        self._active_calls: dict[str, ActiveCall] = {}
        self._stopping = False

    def __len__(self) -> int:
        """Return how many calls a stop waits for: not those that it has given back, even if their connections hang."""
        return len(self._active_calls)

    def add(self, active: ActiveCall) -> None:
        """Add a claimed call, in the slot that was taken for it."""
        self._slots.hold(active.webhook)
        self._active_calls[active.reference_id] = active
        self._watch.claimed(active)

    def with_capacity(self, group: Sequence[Settlement]) -> Sequence[Settlement]:
        """Add to each settlement how many further calls of its webhook this process will have room for."""
        if self._stopping:
            return group
        actives = [self._active_calls.get(settlement.reference_id) for settlement in group]
        capacity = self._slots.capacity_after(active.webhook for active in actives if active)
        return [
            settlement._replace(capacity=capacity[active.webhook]) if active else settlement
            for settlement, active in zip(group, actives, strict=True)
        ]

    def settled(self, settlement: Settlement) -> ActiveCall | None:
        """Report the outcome of a call whose settlement was recorded; return the call."""
        active = self._active_calls.get(settlement.reference_id)
        if active is not None:
            self._watch.settled(active, settlement)
        return active

    def end(self, reference_ids: Sequence[str]) -> None:
        """Remove calls that were settled or given back, and free their slots."""
        now_s = boot_time_s()
        for reference_id in reference_ids:
            active = self._active_calls.pop(reference_id, None)
            if active is not None:
                self._slots.leave(active.webhook, now_s - active.claimed_at_s)

    def shut_unsent(self) -> dict[str, list[str]]:
        """Stop every unsent request for good; return the reference ids by claim token, to be given back.

        Their slots are free at once: calls that wait for one are left to other workers, even if all connections hang.
        """
        self._stopping = True
        by_token: dict[str, list[str]] = {}
        for active in list(self._active_calls.values()):
            if isinstance(active.call, Prepared) and active.gate.shut():
                active.released = True
                by_token.setdefault(active.claim_token, []).append(active.reference_id)
        for reference_ids in by_token.values():
            self.end(reference_ids)
        return by_token
