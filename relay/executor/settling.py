"""Settles calls in groups."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import gevent

from relay.executor.group_queue import GroupQueue
from relay.store.ledger.transitions import Settled, Settlement
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.executor.active_calls import ActiveCalls
    from relay.executor.chain_evaluation import ChainEvaluator
    from relay.executor.scheduler import Scheduler
    from relay.store.ledger.invocations import InvocationStore


class Settler(GroupQueue[Settlement, Settled]):
    """Settles calls. A call keeps its slot until it is settled, which bounds the queue."""

    def __init__(
        self, store: InvocationStore, active_calls: ActiveCalls, scheduler: Scheduler, evaluator: ChainEvaluator
    ) -> None:
        self._store = store
        self._evaluator = evaluator
        self._active_calls = active_calls
        self._scheduler = scheduler
        super().__init__("settle")

    def _size_bytes(self, item: Settlement) -> int:
        return len(item.result) + len(item.raw)

    def _commit(self, items: Sequence[Settlement]) -> Settled:
        return self._store.settle(self._active_calls.with_capacity(items))

    def _committed(self, items: Sequence[Settlement], reply: Settled) -> None:
        for settlement, counted in zip(items, reply.verdicts, strict=False):
            if counted:
                active = self._active_calls.settled(settlement)
                if active is not None:
                    self._evaluator.settled(active.call.record, settlement)
            else:
                event(Event.LATE_ANSWER, level=logging.WARNING, ref=settlement.reference_id)
        self._release(items)
        if reply.ready:
            self._scheduler.run_or_publish(reply.ready, reply.found)
            gevent.sleep(0)  # woken calls come before this log event
        event(
            Event.CALLS_SETTLED,
            calls=[
                [each.reference_id, each.outcome, each.status, each.attempt.duration_ms if each.attempt else 0]
                for each in items
            ],
        )

    def _give_up(self, item: Settlement, error: Exception) -> None:  # noqa: ARG002 - the error is in the log
        """End a call whose settlement was not recorded: once its lease has expired, the next claim decides."""
        self._release([item])

    def _release(self, items: Sequence[Settlement]) -> None:
        reference_ids = [item.reference_id for item in items]
        self._active_calls.end(reference_ids)
        self._scheduler.release(reference_ids)
