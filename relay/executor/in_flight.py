"""Carries out claimed calls, each in a greenlet: gate, send, classify, mask, settle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.domain.invocation import Outcome
from relay.executor.conclusion import salvaged, unsendable
from relay.executor.greenlet_pool import GreenletPool
from relay.executor.group_queue import PartitionQueues
from relay.executor.preparation import Prepared, Unsendable
from relay.executor.settling import Settler
from relay.process.clock import boot_time_s
from relay.telemetry import log

if TYPE_CHECKING:
    from relay.executor.active_calls import ActiveCall, ActiveCalls
    from relay.executor.chain_evaluation import ChainEvaluator
    from relay.executor.claiming import Claimer
    from relay.executor.conclusion import Conclusion
    from relay.executor.scheduler import Scheduler
    from relay.executor.watch import CallWatch
    from relay.outbound.sender import Sender
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.transitions import Settlement


class InFlight:
    """Carries out the claimed calls of one process."""

    def __init__(
        self,
        store: InvocationStore,
        sender: Sender,
        conclusion: Conclusion,
        evaluator: ChainEvaluator,
        claimer: Claimer,
        active_calls: ActiveCalls,
        scheduler: Scheduler,
        watch: CallWatch,
    ) -> None:
        self._sender = sender
        self._conclusion = conclusion
        self._claimer = claimer
        self._active_calls = active_calls
        self._scheduler = scheduler
        self._watch = watch
        self.settlers = PartitionQueues(store, lambda: Settler(store, active_calls, scheduler, evaluator))
        self._pool = GreenletPool(self._carry_out)

    def launch(self, active: ActiveCall) -> None:
        """Start a claimed call in the slot that was taken for it; the call frees the slot, however it ends.

        A call that cannot be started, for example because memory has run out, is given back.
        """
        try:
            self._active_calls.add(active)
            self._pool.start(active)
        except Exception as error:  # noqa: BLE001 - the other calls of its claim must still start
            active.gate.shut()  # nothing sends it any more
            active.released = True
            self._end(active)
            self._claimer.give_back_soon(active.claim_token, active.reference_id)
            log.fault(error, "launch")

    def _carry_out(self, active: ActiveCall) -> None:
        """Carry out a call and settle it, whatever goes wrong on the way."""
        settlement: Settlement | None = None
        try:
            settlement = self._attempt(active)
        except Exception as error:  # noqa: BLE001 - a fault of the relay must cost this call only
            log.fault(error, "attempt")
            settlement = self._salvage(active)
        finally:
            if settlement is None:
                self._end(active)
            else:
                self.settlers.put(settlement.reference_id, settlement)

    def _attempt(self, active: ActiveCall) -> Settlement | None:
        """Send a call; return its settlement, or None if it was given back."""
        call, sent_at_ms = active.call, self._sent_at_ms(active)
        if isinstance(call, Prepared):
            if self._is_late(active):
                return None
            self._watch.sending(active)
            answer = active.answer = self._sender.send(
                call.request, gate=active.gate, deadline_s=active.gate.deadline_s, repeatable=call.shape.repeatable
            )
            self._scheduler.slots.answered(active.webhook, answer.duration_ms / 1000)
            if active.released:
                return None
            return self._conclusion.conclude(call, active.claim_token, answer, sent_at_ms)
        self._scheduler.slots.answered(active.webhook, 0.0)  # no endpoint is called
        return unsendable(call, active.claim_token, sent_at_ms)

    def _is_late(self, active: ActiveCall) -> bool:
        """Give a call back, and return True, if over half its time passed untried: its endpoint is not to blame."""
        spare_s = active.gate.deadline_s - boot_time_s()
        if spare_s >= active.call.record.timeout_ms / 2000 or active.released or not active.gate.shut():
            return active.released
        active.released = True
        self._claimer.give_back_soon(active.claim_token, active.reference_id)
        return True

    def _salvage(self, active: ActiveCall) -> Settlement | None:
        """Make the settlement of a call that a fault of the relay stopped; None if it was given back."""
        call, sent_at_ms = active.call, self._sent_at_ms(active)
        if active.released:
            return None
        if isinstance(call, Prepared):
            entered = not active.gate.shut()
            return salvaged(call, active.claim_token, active.answer, entered=entered, at_ms=sent_at_ms)
        return unsendable(Unsendable(call.record, Outcome.PREPARE_FAILED), active.claim_token, sent_at_ms)

    @staticmethod
    def _sent_at_ms(active: ActiveCall) -> int:
        return active.claimed_at_ms + int((boot_time_s() - active.claimed_at_s) * 1000)

    def _end(self, active: ActiveCall) -> None:
        """End a call without a settlement."""
        self._active_calls.end([active.reference_id])
        self._scheduler.release([active.reference_id])
