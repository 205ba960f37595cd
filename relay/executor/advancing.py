"""Creates the next steps of chains in groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gevent.event import AsyncResult

from relay.executor.group_queue import GROUP_BYTES, GroupQueue
from relay.store.ledger.transitions import Advanced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.executor.scheduler import Scheduler
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.transitions import Advance, NextStep

#: What each created call adds to a group besides its payload, in bytes: a group creates at most 32, or one step's.
CALL_BYTES: Final = GROUP_BYTES // 32


@dataclass(frozen=True, slots=True, eq=False)
class Advancing:
    """A step to create; ``verdict`` receives what became of its chain, or the error if the step is given up."""

    step: NextStep
    verdict: AsyncResult[Advance] = field(default_factory=AsyncResult)


class Advancer(GroupQueue[Advancing, Advanced]):
    """Creates the next steps of chains."""

    def __init__(self, store: InvocationStore, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler
        super().__init__("advance")

    def _size_bytes(self, item: Advancing) -> int:
        step = item.step
        return len(step.secrets) + sum(CALL_BYTES + len(new.payload) for new in step.news)

    def _commit(self, items: Sequence[Advancing]) -> Advanced:
        return self._store.advance([each.step for each in items])

    def _committed(self, items: Sequence[Advancing], reply: Advanced) -> bool:
        for each, verdict in zip(items, reply.verdicts, strict=True):
            each.verdict.set(verdict)
        if reply.ready:
            self._scheduler.run_or_publish(reply.ready, reply.found)
        return len(items) > 1

    def _give_up(self, item: Advancing, error: Exception) -> None:
        if not item.verdict.ready():
            item.verdict.set_exception(error)
