"""Which calls a worker shows to Flower: all while they are few; failures first and a sample when they are many."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, Generic, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.store.transitions import Settlement

T = TypeVar("T")
#: Seconds of which the calls may be shown at once.
BURST_S: Final = 10


class ShownCall(NamedTuple):
    """What is shown of a call: never contents, never an address."""

    reference_id: str
    webhook: str  # plugin/webhookId
    state: Literal["SUCCESS", "FAILURE", "RETRY"]
    result: str  # "<status> <outcome>"
    runtime_s: float  # of the attempt
    retries: int
    lane: str
    ended_at_s: float  # by the worker's clock, as Celery has it


def state_of(settlement: Settlement) -> Literal["SUCCESS", "FAILURE", "RETRY"]:
    """Return what Celery calls such an end. Whatever has no good result is a failure."""
    if not settlement.state.final:
        return "RETRY"
    return "SUCCESS" if settlement.error is False else "FAILURE"


class ShownCalls:
    """Calls that have ended since they were last taken.

    What is not shown in quiet times may be shown in a burst, up to ten seconds' worth: after a short run every call is
    there to be looked at.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._most = per_second * BURST_S
        self._budget = float(self._most)
        self._failed = Reservoir[ShownCall](self._most)
        self._others = Reservoir[ShownCall](self._most)

    def __bool__(self) -> bool:
        return self._most > 0

    def add(self, call: ShownCall) -> None:
        """Note that a call has ended."""
        (self._failed if call.state == "FAILURE" else self._others).add(call)

    def take(self, period_s: float = 1.0) -> list[ShownCall]:
        """Take those to be shown of the last period, in the order in which they ended, and begin anew."""
        failed = _some(list(self._failed.take()), int(self._budget))
        others = _some(list(self._others.take()), int(self._budget) - len(failed))
        calls = sorted((*failed, *others), key=lambda call: call.ended_at_s)
        self._budget = min(float(self._most), self._budget - len(calls) + self._per_second * period_s)
        return calls


def _some(calls: list[ShownCall], most: int) -> list[ShownCall]:
    return calls if len(calls) <= most else random.sample(calls, most)


class Reservoir(Generic[T]):
    """So many of all that are added, each as likely as any other (Vitter's algorithm R)."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[T] = []
        self._seen = 0

    def add(self, value: T) -> None:
        """Keep this, perhaps."""
        self._seen += 1
        if len(self._kept) < self._size:
            self._kept.append(value)
        elif (place := int(random.random() * self._seen)) < self._size:  # noqa: S311 - a sample, no secret
            self._kept[place] = value

    def take(self) -> Iterator[T]:
        """Take what was kept, and begin anew."""
        kept, self._kept, self._seen = self._kept, [], 0
        return iter(kept)
