"""Settles calls in groups: the settlements that arrive while one script runs go into the next."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import gevent
from gevent.event import Event as Signal

from relay.process import loops
from relay.process.collecting import collect
from relay.process.loops import Failures, Loop
from relay.telemetry import log
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.store.invocations import InvocationStore
    from relay.store.transitions import CallRecord, Ready, Settled, Settlement

#: The most settlements in one script, which then takes about 1 ms; the server does nothing else meanwhile.
GROUP_ITEMS: Final = 24
GROUP_BYTES: Final = 1024 * 1024
#: After how many seconds with nothing to settle the settler iterates, to show that it is alive.
IDLE_S: Final = 1.0
#: A settlement that has failed this often, for whatever reason, is tried alone: it may itself be the reason.
FAILURES_TOGETHER: Final = 3
#: After this many faults of the relay when tried alone, a settlement is given up: the claim after its lease decides.
FAULTS_ALONE: Final = 8


@dataclass(slots=True)
class _Waiting:
    """A settlement in the queue."""

    settlement: Settlement
    failures: int = 0
    faults: int = 0  # of the relay, when it was tried alone
    alone: bool = False

    @property
    def size_bytes(self) -> int:
        return len(self.settlement.result) + len(self.settlement.raw)


class Settler:
    """Settles calls in one greenlet. A call keeps its slot until it is settled, which bounds the queue.

    A settlement that has failed goes to the end of the queue, out of the way of others.
    """

    def __init__(
        self,
        store: InvocationStore,
        on_settled: Callable[[Sequence[Settlement], Sequence[bool]], None],
        on_ready: Callable[[Ready, Sequence[CallRecord]], None],
        with_room: Callable[[Sequence[Settlement]], Sequence[Settlement]] = lambda group: group,
    ) -> None:
        self._store = store
        self._with_room = with_room
        self._on_settled = on_settled
        self._on_ready = on_ready
        self._waiting: deque[_Waiting] = deque()
        self._arrived = Signal()
        self._idle = Signal()
        self._idle.set()
        self._busy = False  # the last group had several items
        self._failures = Failures("settle")
        self.moves = 0  # how often it has iterated, even with nothing to do or the store away
        self._greenlet = gevent.spawn(Loop("settle", self._iterate, gevent.sleep).run)

    @property
    def waiting(self) -> int:
        """How many settlements wait."""
        return len(self._waiting)

    def put(self, settlement: Settlement) -> None:
        """Queue a settlement. ``on_settled`` later gets its group, and for each of the group whether it counted."""
        self._waiting.append(_Waiting(settlement))
        self._idle.clear()
        self._arrived.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is left to settle; return False if that takes longer than ``timeout_s`` seconds."""
        return bool(self._idle.wait(timeout_s))

    def _iterate(self) -> None:
        arrived = bool(self._waiting) or self._arrived.wait(IDLE_S)
        self.moves += 1
        if not arrived:
            return
        if self._busy:
            self._collect()
        group = self._take()
        try:
            self._busy = self._settle(group)
        finally:
            if not self._waiting:
                self._arrived.clear()
                self._idle.set()

    def _collect(self) -> None:
        collect(lambda: len(self._waiting), GROUP_ITEMS, gevent.sleep)

    def _take(self) -> list[_Waiting]:
        group = [self._waiting.popleft()]
        size_bytes = group[0].size_bytes
        while self._waiting and len(group) < GROUP_ITEMS:
            following = self._waiting[0]
            if group[0].alone or following.alone or size_bytes + following.size_bytes > GROUP_BYTES:
                break
            group.append(self._waiting.popleft())
            size_bytes += following.size_bytes
        return group

    def _settle(self, group: Sequence[_Waiting]) -> bool:
        """Settle a group; return whether to collect for a moment before the next one."""
        settlements = [each.settlement for each in group]
        try:
            settled = self._store.settle(self._with_room(settlements))
        except Exception as error:  # noqa: BLE001 - the answers have come, so the group is kept for another try
            self._failed(group, error)
            return False
        self._failures.succeeded()
        self._on_settled(settlements, settled.counted)
        self._tell(settlements, settled)
        return len(group) > 1 and not settled.ready  # woken calls do not wait for a larger group

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

    # -- failures -----------------------------------------------------------------------------------------------

    def _failed(self, group: Sequence[_Waiting], error: Exception) -> None:
        ours = self._failures.note(error)
        for each in group:
            each.failures += 1
            each.faults += ours and len(group) == 1
            each.alone = each.alone or ours or each.failures >= FAILURES_TOGETHER
            if each.faults < FAULTS_ALONE:
                self._waiting.append(each)
            else:
                log.fault(error, "settle: given up")
                self._on_settled([each.settlement], [False])
        self._wait_to_retry()

    def _wait_to_retry(self) -> None:
        """Wait for a moment before the next try, unless a settlement that has not been tried yet waits or arrives."""
        if all(each.failures for each in self._waiting):
            self._arrived.clear()
            self._arrived.wait(loops.RETRY_S)
