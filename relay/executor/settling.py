"""Settles what came of calls in groups: what arrives while one script runs goes with the next."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

import gevent
from gevent.event import Event as Signal

from relay.errors import Unavailable
from relay.telemetry import Event, event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.store.invocations import InvocationStore
    from relay.store.transitions import CallRecord, Ready, Settled, Settlement

#: A script holds the server for everybody: about 1 ms for so many.
GROUP_ITEMS: Final = 24
GROUP_BYTES: Final = 1024 * 1024
#: After a group of several, how long the next one is collected.
WINDOW_S: Final = 0.004
#: How often within it it is looked whether anything has arrived; if not, the group is not waited for longer.
LOOKS: Final = 4
#: Between two tries while the store is away.
RETRY_S: Final = 0.5
#: While there is nothing to settle, how often that shows that it could.
IDLE_S: Final = 1.0


class Settler:
    """One greenlet that settles. A call keeps its slot until it is settled, so that what waits here is bounded."""

    def __init__(
        self,
        store: InvocationStore,
        on_settled: Callable[[Sequence[str]], None],
        on_ready: Callable[[Ready, Sequence[CallRecord]], None],
    ) -> None:
        self._store = store
        self._on_settled = on_settled
        self._on_ready = on_ready
        self._waiting: deque[Settlement] = deque()
        self._arrived = Signal()
        self._idle = Signal()
        self._idle.set()
        self.moves = 0  # how often it has gone on, be it to find that there is nothing to do or that the store is away
        self._greenlet = gevent.spawn(self._run)

    def put(self, settlement: Settlement) -> None:
        """Settle this, soon; ``on_settled`` is called with its group's reference ids when it is done."""
        self._waiting.append(settlement)
        self._idle.clear()
        self._arrived.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is left to settle; False if that took longer than ``timeout_s``."""
        return bool(self._idle.wait(timeout_s))

    def _run(self) -> None:
        busy = False
        while True:
            arrived = self._arrived.wait(IDLE_S)
            self.moves += 1
            if not arrived:
                continue
            if busy:
                self._collect()
            group = self._take()
            others = self._settle(group)
            busy = len(group) > 1 and not others  # who waits for a place does not wait for a larger group
            if not self._waiting:
                self._arrived.clear()
                self._idle.set()

    def _collect(self) -> None:
        """Wait while more arrives, at most for the window."""
        seen = 0
        for _ in range(LOOKS):
            if not seen < len(self._waiting) < GROUP_ITEMS:
                return
            seen = len(self._waiting)
            gevent.sleep(WINDOW_S / LOOKS)

    def _take(self) -> list[Settlement]:
        group = [self._waiting.popleft()]
        size_bytes = len(group[0].result)
        while self._waiting and len(group) < GROUP_ITEMS and size_bytes + len(self._waiting[0].result) <= GROUP_BYTES:
            group.append(self._waiting.popleft())
            size_bytes += len(group[-1].result)
        return group

    def _settle(self, group: Sequence[Settlement]) -> bool:
        """Settle these; whether others may go now because of it."""
        settled = self._settle_surely(group)
        reference_ids = [settlement.reference_id for settlement in group]
        self._on_settled(reference_ids)
        for reference_id, counted in zip(reference_ids, settled.counted, strict=True):
            if not counted:
                event(Event.LATE_ANSWER, level=logging.WARNING, ref=reference_id)
        if settled.ready:
            self._on_ready(settled.ready, settled.found)
            gevent.sleep(0)  # who waits for a place does not wait for what is written here
        event(
            Event.CALLS_SETTLED,
            calls=[
                [each.reference_id, each.outcome, each.status, each.attempt.duration_ms if each.attempt else 0]
                for each in group
            ],
        )
        return bool(settled.ready)

    def _settle_surely(self, group: Sequence[Settlement]) -> Settled:
        while True:
            self.moves += 1
            try:
                return self._store.settle(group)
            except Unavailable:
                event(Event.STORE_AWAY, level=logging.WARNING, doing="settle", calls=len(group))
                gevent.sleep(RETRY_S)
