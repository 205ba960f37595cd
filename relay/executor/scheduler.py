"""Decides whether a call runs here, later or elsewhere, and remembers those that are in progress here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gevent.queue import SimpleQueue

from relay.domain.reference_id import reference_time_ms
from relay.process.loops import Failures
from relay.queue import LANES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from relay.executor.slots import Slots
    from relay.queue import Publisher
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.transitions import CallRecord, Ready


class InProgress:
    """Holds the reference id of each call that was taken, until it ends, is parked, or is left to be taken again."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._asked_for: set[str] = set()  # taken again while held

    def take(self, named: Iterable[object]) -> list[str]:
        """Hold the ids that are not held yet, and return them; ignore anything that is not a reference id."""
        fresh = dict.fromkeys(ref for ref in named if isinstance(ref, str) and reference_time_ms(ref))
        taken = [ref for ref in fresh if ref not in self._held]
        self._asked_for.update(self._held.intersection(fresh))
        self._held.update(taken)
        return taken

    def release(self, reference_ids: Collection[str]) -> list[str]:
        """Stop holding these ids; return those that were taken again while they were held.

        It may have been made ready just as this process parked it; nothing else would wake it.
        """
        self._held.difference_update(reference_ids)
        if not self._asked_for:
            return []
        again = self._asked_for.intersection(reference_ids)
        self._asked_for -= again
        return list(again)


class Run(NamedTuple):
    """Calls that are to run in this process; records that are in ``found`` need not be read again."""

    reference_ids: Sequence[str]
    found: Sequence[CallRecord] = ()


#: What `Executor` takes its runs from.
Runs: TypeAlias = "SimpleQueue[Run]"


class Scheduler:
    """Holds what decides where a call runs: free slots, calls in progress, the lanes of this process, and its stop.

    The parts of an executor hand it the calls that may run now. Those for which this process has room come out of
    `runs`; the others wait in the store for any worker.
    """

    def __init__(self, store: InvocationStore, slots: Slots, publisher: Publisher, lanes: Collection[str]) -> None:
        self.lanes = tuple(lane for lane in LANES if lane in lanes)  # most urgent first
        self.slots = slots
        self.runs: Runs = SimpleQueue()
        self.draining = False
        self._store = store
        self._publisher = publisher
        self._in_progress = InProgress()

    def take(self, named: Iterable[object]) -> list[str]:
        """Return the ids that are not in progress yet, and note that they are; ignore what is not a reference id."""
        return self._in_progress.take(named)

    def release(self, reference_ids: Collection[str]) -> None:
        """Note that calls are not in progress any more; those that were taken again meanwhile run again."""
        again = self._in_progress.release(reference_ids)
        for part in self._store.by_partition(again) if again and not self.draining else ():
            self.runs.put(Run(part))

    def run_or_publish(self, ready: Ready, found: Sequence[CallRecord] = ()) -> None:
        """Run the ready calls of this process's lanes as far as it has room, and publish the others."""
        own = [] if self.draining else [ref for ref, lane in ready if lane in self.lanes][: self.slots.free]
        if own:
            self.runs.put(Run(own, found))
        here = set(own)
        others = tuple((ref, lane) for ref, lane in ready if ref not in here)
        if others:
            self.publish(others)

    def publish(self, ready: Ready) -> None:
        """Let calls wait for any worker. If that fails, a sweep does it later."""
        try:
            self._publisher.publish_ready(ready)
        except Exception as error:  # noqa: BLE001
            Failures("publish", calls=len(ready)).note(error)
