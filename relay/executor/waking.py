"""Wakes parked calls that no ending call wakes, as many as this process has room for.

Such calls were parked because another webhook held the slots, or by a process that is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import gevent

from relay.errors import Unavailable
from relay.process.loops import Failures

if TYPE_CHECKING:
    from relay.executor.scheduler import Scheduler
    from relay.store.ledger.parked import ParkedCalls

#: Seconds between two looks, so that a webhook gets its share within a second after others have freed slots.
PERIOD_S: Final = 0.4
#: The most webhooks that one look wakes calls of.
WEBHOOKS: Final = 16


class Waking:
    """Wakes parked calls of the lanes that one process serves."""

    def __init__(self, parked: ParkedCalls, scheduler: Scheduler) -> None:
        self._parked = parked
        self._scheduler = scheduler
        self._failures = Failures("wake")

    def iterate(self) -> None:
        """Look once, and wait until it is time to look again."""
        try:
            self.look()
        except Unavailable as error:
            self._failures.note(error)
        else:
            self._failures.succeeded()
        gevent.sleep(PERIOD_S)

    def look(self) -> None:
        """Wake as many parked calls as there is room for. Raises `Unavailable` while the store is away."""
        slots = self._scheduler.slots
        if not slots.free:
            return
        for name in self._parked.webhooks(limit=WEBHOOKS):
            capacity = slots.capacity(name)
            if capacity:
                self._scheduler.run_or_publish(self._parked.wake(*name, capacity, sorted(self._scheduler.lanes)))
