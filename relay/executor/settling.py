"""Settles calls in groups."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import gevent

from relay.executor.group_queue import GroupQueue
from relay.store.ledger.transitions import Settled, Settlement
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.transitions import CallRecord, Ready


class Settler(GroupQueue[Settlement, Settled]):
    """Settles calls. A call keeps its slot until it is settled, which bounds the queue.

    ``on_settled`` gets each group, and for each of the group whether it counted; a settlement that is given up does not
    count: the claim after its lease decides. ``on_ready`` gets the calls that may be run now.
    """

    def __init__(
        self,
        store: InvocationStore,
        on_settled: Callable[[Sequence[Settlement], Sequence[bool]], None],
        on_ready: Callable[[Ready, Sequence[CallRecord]], None],
        with_capacity: Callable[[Sequence[Settlement]], Sequence[Settlement]] = lambda group: group,
    ) -> None:
        self._store = store
        self._with_capacity = with_capacity
        self._on_settled = on_settled
        self._on_ready = on_ready
        super().__init__("settle")

    def _size_bytes(self, item: Settlement) -> int:
        return len(item.result) + len(item.raw)

    def _commit(self, items: Sequence[Settlement]) -> Settled:
        return self._store.settle(self._with_capacity(items))

    def _committed(self, items: Sequence[Settlement], reply: Settled) -> bool:
        self._on_settled(items, reply.counted)
        self._tell(items, reply)
        return len(items) > 1 and not reply.ready  # woken calls do not wait for a larger group

    def _give_up(self, item: Settlement, error: Exception) -> None:  # noqa: ARG002 - the error is in the log
        self._on_settled([item], [False])

    def _tell(self, settlements: Sequence[Settlement], settled: Settled) -> None:
        for settlement, counted in zip(settlements, settled.counted, strict=False):
            if not counted:
                event(Event.LATE_ANSWER, level=logging.WARNING, ref=settlement.reference_id)
        if settled.ready:
            self._on_ready(settled.ready, settled.found)
            gevent.sleep(0)  # woken calls go on before this event is written
        event(
            Event.CALLS_SETTLED,
            calls=[
                [each.reference_id, each.outcome, each.status, each.attempt.duration_ms if each.attempt else 0]
                for each in settlements
            ],
        )
