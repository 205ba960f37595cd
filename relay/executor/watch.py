"""Observes every call that this process claims and settles, for metrics, traces and Flower."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from relay.domain.invocation import State
from relay.executor.preparation import Prepared
from relay.metrics.gathering import ATTEMPT, WAITED
from relay.metrics.shown_calls import ShownCall, state_of
from relay.telemetry.spans import end_of

if TYPE_CHECKING:
    from relay.executor.active_calls import ActiveCall
    from relay.metrics.gathering import Gathering
    from relay.metrics.shown_calls import ShownCalls, ShownState
    from relay.store.ledger.transitions import CallRecord, Settlement
    from relay.telemetry.spans import Spans


class CallWatch:
    """Collects what happens to calls; `relay.metrics.gathering` does everything that takes time."""

    def __init__(self, gathering: Gathering, shown: ShownCalls, spans: Spans) -> None:
        self._gathering = gathering
        self._shown = shown
        self._spans = spans

    def claimed(self, active: ActiveCall) -> None:
        """Note that a call was claimed."""
        if active.waited_ms is not None:
            self._gathering.add(WAITED, active.webhook, active.waited_ms)

    def sending(self, active: ActiveCall) -> None:
        """Note that a request is about to be sent; if it is traced, send the attempt's span to the endpoint."""
        call = active.call
        if isinstance(call, Prepared):
            active.span = self._spans.attempt(
                call.record.traceparent, claimed_at_ms=active.claimed_at_ms, waited_ms=active.waited_ms
            )
            if active.span is not None and active.span.traceparent is not None:
                call.request.headers["traceparent"] = active.span.traceparent

    def ended(self, record: CallRecord, state: State, outcome: str) -> None:
        """Note that a claim ended a call: its worker was lost, its breaker is open, or its time is over."""
        if self._shown and state is not State.CANCELLED:
            self._show(record, "FAILURE", f"0 {outcome}", 0.0)

    def chain_ended(self, record: CallRecord, settlement: Settlement) -> None:
        """Note that a chain has ended."""
        if self._shown:
            self._show(record, state_of(settlement), f"{settlement.status or 0} {settlement.outcome}", 0.0)

    def settled(self, active: ActiveCall, settlement: Settlement) -> None:
        """Note that a call was settled."""
        attempt = settlement.attempt
        runtime_ms = 0 if attempt is None else attempt.duration_ms
        if isinstance(active.call, Prepared):
            self._gathering.add(ATTEMPT, active.webhook, runtime_ms)
        if active.span is not None:
            active.span.end(end_of(settlement, active.webhook, active.call.record.lane))
        if self._shown:
            result = f"{settlement.status or 0} {settlement.outcome}"
            self._show(active.call.record, state_of(settlement), result, runtime_ms / 1000)

    def _show(self, record: CallRecord, state: ShownState, result: str, runtime_s: float) -> None:
        self._shown.add(
            ShownCall(
                reference_id=record.reference_id,
                webhook=f"{record.plugin}/{record.webhook_id}",
                state=state,
                result=result,
                runtime_s=runtime_s,
                retries=record.tries,
                lane=record.lane,
                ended_at_s=time.time(),
            )
        )
