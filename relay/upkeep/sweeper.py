"""Makes due calls wait for a worker again and deletes old records. Every worker sweeps, a bounded piece at a time.

Calls that were lost with their worker and due retries all take this one path. A sweep visits all partitions, even if
there is nothing to do, so if there are many workers they take turns, to spare the servers. If a part of a sweep fails
in one partition, it continues in the others.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from relay.errors import Unavailable
from relay.process.loops import Failures
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.queue import Publisher
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.partitions.reachable import Partitions

PERIOD_S: Final = 1.0
#: How many sweeps per period are enough: with more workers, each skips some of its sweeps.
SWEEPS: Final = 16
ALARMS: Final = 1_000  # taken in one sweep
RECORDS: Final = 250  # that one script deletes, or whose contents it drops
#: How long one sweep may spend on dropping contents, in seconds; calls do not end faster than that.
DROPPING_S: Final = 0.8
#: How long one sweep may spend on deleting records, in seconds; new ones do not arrive faster than that.
PRUNING_S: Final = 0.5
WEBHOOKS: Final = 16  # of a partition, revisited in one sweep
#: How long one sweep spends on revisiting webhooks, in seconds; the next sweep continues.
REVISITING_S: Final = 0.4
CALLS: Final = 64  # past their age or deadline, ended by one script
#: How long one sweep spends on ending them, in seconds.
EXPIRING_S: Final = 0.4


class Sweeper:
    """Sweeps for one worker process.

    ``send_due`` sends the callbacks of ended calls and returns how many; ``forget_due`` continues the jobs that forget
    subjects. ``workers_alive`` returns how many workers are alive, ``chance`` a random number from 0 to 1.
    """

    def __init__(
        self,
        store: InvocationStore,
        publisher: Publisher,
        partitions: Partitions,
        *,
        send_due: Callable[[], int],
        forget_due: Callable[[], object],
        workers_alive: Callable[[], int],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._partitions = partitions
        self._send_due = send_due
        self._forget_due = forget_due
        self._workers_alive = workers_alive
        self._chance = chance
        self._is_behind = False  # the last sweep left something undone
        self.moves = 0  # sweeps that have finished
        self._failures = Failures("sweep")

    def sweep(self) -> None:
        """Sweep once, unless enough other workers do. Never raises `Unavailable`: the next sweep tries again."""
        try:
            self._sweep()
        except Unavailable as error:
            self._failures.note(error)
        else:
            self._failures.succeeded()
        self.moves += 1

    def _sweep(self) -> None:
        if self._is_left_to_others():
            return
        ready = self._store.sweep(limit=ALARMS)
        if ready:
            self._publisher.publish_ready(ready)
            event(Event.SWEPT, published=len(ready))
        dropped, is_cut_off = self._drop_contents()
        if dropped:
            event(Event.CONTENTS_DROPPED, records=dropped)
        self._revisit()
        expired = self._expire()
        if expired:
            event(Event.EXPIRED, calls=expired)
        sent = self._send_due()
        if sent:
            event(Event.CALLED_BACK, calls=sent)
        self._forget_due()
        pruned = self._prune()
        if pruned:
            event(Event.PRUNED, records=pruned)
        self._is_behind = is_cut_off or len(ready) >= ALARMS or max(expired, sent) >= CALLS or pruned >= RECORDS

    def _is_left_to_others(self) -> bool:
        """Return whether this sweep can be left to other workers."""
        return not self._is_behind and self._chance() * self._workers_alive() >= SWEEPS

    def _drop_contents(self) -> tuple[int, bool]:
        """Drop contents of plugins that keep too many bytes, in bounded pieces.

        Returns how many records had them, and whether time was over before all records were examined: a piece may
        drop nothing, since calls that still wait keep their contents.
        """
        until_s = time.monotonic() + DROPPING_S
        dropped, more = 0, True
        while more and time.monotonic() < until_s:
            piece, more = self._store.drop_contents(limit=RECORDS)
            dropped += piece
        return dropped, more

    def _prune(self) -> int:
        """Delete old records in bounded pieces, so that other requests wait at most for one piece; return how many."""
        until_s = time.monotonic() + PRUNING_S
        pruned = 0
        while True:
            piece = self._store.prune(limit=RECORDS)
            pruned += piece
            if piece < RECORDS or time.monotonic() > until_s:
                return pruned

    def _revisit(self) -> None:
        """Revisit the calls of changed webhooks, as far as the process that made the change has not."""
        until_s = time.monotonic() + REVISITING_S
        self._partitions.ask(lambda partition: self._revisit_in(partition, until_s))

    def _revisit_in(self, partition: int, until_s: float) -> None:
        for plugin, webhook_id in self._store.revisits(partition, limit=WEBHOOKS):
            for ready in self._store.revisit(plugin, webhook_id):
                self._publisher.publish_ready(ready)
                if time.monotonic() > until_s:
                    return

    def _expire(self) -> int:
        """End calls past their age or deadline; return how many."""
        until_s = time.monotonic() + EXPIRING_S
        ended, more = 0, True
        while more and time.monotonic() < until_s:
            count, more, ready = self._store.expire(limit=CALLS)
            ended += count
            self._publisher.publish_ready(ready)
        return ended
