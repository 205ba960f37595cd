"""Decides whether a call runs here, later or elsewhere, and keeps track of those in progress here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

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


#: Seconds between two looks at parked calls, so that a webhook gets its share within a second after others freed slots.
WAKE_S: Final = 0.4
#: The most webhooks whose calls one look wakes.
WOKEN_WEBHOOKS: Final = 16


class Run(NamedTuple):
    """Calls that are to run in this process; records that are in ``found`` need not be read again."""

    reference_ids: Sequence[str]
    found: Sequence[CallRecord] = ()


class Scheduler:
    """Holds what decides where a call runs: free slots, calls in progress, the lanes of this process, and its stop.

    The parts of an executor hand it the calls that may run now. Those that this process has room for come out of
    `runs`; the others wait in the store for any worker.
    """

    def __init__(self, store: InvocationStore, slots: Slots, publisher: Publisher, lanes: Collection[str]) -> None:
        self.lanes = tuple(lane for lane in LANES if lane in lanes)  # most urgent first
        self.slots = slots
        self.runs: SimpleQueue[Run] = SimpleQueue()
        self.draining = False
        self._store = store
        self._publisher = publisher
        self._held: set[str] = set()  # each call that was taken, until it ends, is parked, or is left
        self._asked_for: set[str] = set()  # ids that were taken again while held

    def take(self, named: Iterable[object]) -> list[str]:
        """Hold the ids that are not held yet, and return them; ignore anything that is not a reference id."""
        fresh = dict.fromkeys(ref for ref in named if isinstance(ref, str) and reference_time_ms(ref))
        taken = [ref for ref in fresh if ref not in self._held]
        self._asked_for.update(self._held.intersection(fresh))
        self._held.update(taken)
        return taken

    def release(self, reference_ids: Collection[str]) -> None:
        """Stop holding these ids; those that were taken again while they were held run again.

        Such a call may have been made ready just as this process parked it; nothing else would wake it. While the
        process drains, its run publishes it.
        """
        self._held.difference_update(reference_ids)
        again = self._asked_for.intersection(reference_ids)
        self._asked_for -= again
        if again:
            for part in self._store.keys.spread(list(again), self._store.keys.root_of_ref):
                self.runs.put(Run(part.items))

    def run_or_publish(self, ready: Ready, found: Sequence[CallRecord] = ()) -> None:
        """Run the ready calls of this process's lanes as far as it has room, and publish the others."""
        own = [] if self.draining else [ref for ref, lane in ready if lane in self.lanes][: self.slots.free]
        if own:
            self.runs.put(Run(own, found))
        here = set(own)
        others = tuple((ref, lane) for ref, lane in ready if ref not in here)
        if others:
            self.publish(others)

    def wake(self) -> None:
        """Wake parked calls that no ending call wakes, as many as there is room for.

        They were parked because another webhook held the slots, or by a process that is gone. Raises `Unavailable`
        while the store is away.
        """
        parked = self._store.parked_calls
        for name in parked.webhooks(limit=WOKEN_WEBHOOKS) if self.slots.free else ():
            capacity = self.slots.capacity(name)
            if capacity:
                self.run_or_publish(parked.wake(*name, capacity, sorted(self.lanes)))

    def publish(self, ready: Ready) -> None:
        """Let calls wait for any worker. If that fails, a sweep does it later."""
        try:
            self._publisher.publish_ready(ready)
        except Exception as error:  # noqa: BLE001
            Failures("publish", calls=len(ready)).note(error)
