"""Selects the calls that a worker shows to Flower: all while they are few, else failures first and a sample."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from relay.store.ledger.transitions import Settlement

#: Celery's names for the states of a call.
ShownState: TypeAlias = Literal["SUCCESS", "FAILURE", "RETRY"]
#: How many seconds' worth of calls may be shown at once.
BURST_S: Final = 10


class ShownCall(NamedTuple):
    """The facts about a call that are shown: never contents, never an address."""

    reference_id: str
    webhook: str  # plugin/webhookId
    state: ShownState
    result: str  # "<status> <outcome>"
    runtime_s: float  # of the attempt
    retries: int
    lane: str
    ended_at_s: float  # by the worker's clock, as Celery has it


def state_of(settlement: Settlement) -> ShownState:
    """Return Celery's name for the state after a settlement. A final state without a good result is a failure."""
    if not settlement.state.final:
        return "RETRY"
    return "SUCCESS" if settlement.error is False else "FAILURE"


class ShownCalls:
    """Calls that have ended since they were last taken.

    A budget unused in quiet times may be spent in a burst, up to ten seconds' worth, so that after a short run every
    call can be looked at.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._most = per_second * BURST_S
        self._budget = float(self._most)
        self._failed = Reservoir(self._most)
        self._others = Reservoir(self._most)

    def __bool__(self) -> bool:
        return self._most > 0

    def add(self, call: ShownCall) -> None:
        """Note that a call has ended."""
        (self._failed if call.state == "FAILURE" else self._others).add(call)

    def take(self, period_s: float = 1.0) -> list[ShownCall]:
        """Take the calls to show of the last ``period_s`` seconds, in the order of their ends, and start again."""
        failed = _some(self._failed.take(), int(self._budget))
        others = _some(self._others.take(), int(self._budget) - len(failed))
        calls = sorted((*failed, *others), key=lambda call: call.ended_at_s)
        self._budget = min(float(self._most), self._budget - len(calls) + self._per_second * period_s)
        return calls


def _some(calls: list[ShownCall], most: int) -> list[ShownCall]:
    return calls if len(calls) <= most else random.sample(calls, most)


class Reservoir:
    """A sample of ``size`` of all calls that are added, each as likely as any other (Vitter's algorithm R)."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[ShownCall] = []
        self._seen = 0

    def add(self, call: ShownCall) -> None:
        """Add a call, which may or may not get into the sample."""
        self._seen += 1
        if len(self._kept) < self._size:
            self._kept.append(call)
        elif (place := int(random.random() * self._seen)) < self._size:  # noqa: S311 - a sample, no secret
            self._kept[place] = call

    def take(self) -> list[ShownCall]:
        """Take the sample, and start a new one."""
        kept, self._kept, self._seen = self._kept, [], 0
        return kept
