"""Takes chains further in groups: has the server make the calls of their next steps, or end them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.executor.chain_evaluation import Decided
from relay.executor.group_queue import GROUP_BYTES, GroupQueue
from relay.store.ledger.transitions import ChainEnd, Claimed
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.executor.scheduler import Scheduler
    from relay.executor.watch import CallWatch
    from relay.store.ledger.invocations import InvocationStore

#: What each created call adds to a group besides its payload, in bytes: a group creates at most 32, or one step's.
CALL_BYTES: Final = GROUP_BYTES // 32


class Advancer(GroupQueue[Decided, Claimed]):
    """Takes chains further. A chain needs no lease for this: what was decided on its earlier steps is done once."""

    def __init__(self, store: InvocationStore, scheduler: Scheduler, watch: CallWatch) -> None:
        self._store = store
        self._scheduler = scheduler
        self._watch = watch
        super().__init__("advance")

    def _size_bytes(self, item: Decided) -> int:
        decision = item.decision
        if isinstance(decision, ChainEnd):
            return len(decision.settlement.result) + len(decision.settlement.raw)
        return len(decision.secrets) + sum(CALL_BYTES + len(new.payload) for new in decision.news)

    def _commit(self, items: Sequence[Decided]) -> Claimed:
        return self._store.advance([each.decision for each in items])

    def _committed(self, items: Sequence[Decided], reply: Claimed) -> None:
        ended = []
        for each in items:
            ref, decision = each.record.reference_id, each.decision
            if ref in reply.ended:
                self._watch.ended(each.record, *reply.ended[ref])
            elif ref in reply.granted and isinstance(decision, ChainEnd):
                self._watch.chain_ended(each.record, decision.settlement)
                ended.append([ref, decision.settlement.outcome, decision.settlement.status, 0])
        self._release(items)
        if reply.ready:
            self._scheduler.run_or_publish(reply.ready, reply.found)
        if ended:
            event(Event.CALLS_SETTLED, calls=ended)

    def _give_up(self, item: Decided, error: Exception) -> None:  # noqa: ARG002 - the error is in the log
        """Leave a chain to a sweep."""
        self._release([item])

    def _release(self, items: Sequence[Decided]) -> None:
        self._scheduler.release([each.record.reference_id for each in items])
        for each in items:
            each.done.set()
