"""Use case: what is due goes back to its queue, what is old goes away. Every worker sweeps, a bounded piece at a time.

Lost messages, lost workers, failed publishes and retries that have come due are all this one path. A sweep goes through
all partitions, whether there is anything to do or not: many workers take turns, so that the servers do not sweep only.
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
    from relay.store.invocations import InvocationStore
    from relay.store.transitions import Ready

PERIOD_S: Final = 1.0
#: So many sweeps a period are enough, however many workers there are: each leaves it to others as often as that needs.
SWEEPS: Final = 16
ALARMS: Final = 1_000  # looked at in one sweep
RECORDS: Final = 250  # forgotten by one script
#: For so long one sweep goes on forgetting while there is more: records come no faster than they are forgotten so.
PRUNING_S: Final = 0.5
WEBHOOKS: Final = 16  # whose calls one sweep goes through
#: For so long at most; the next sweep goes on.
REVISITING_S: Final = 0.4
CALLS: Final = 64  # that have had their time, ended by one script
#: For so long one sweep goes on ending them.
EXPIRING_S: Final = 0.4
#: A lane with fewer messages is short: a message that has not come by the grace was very likely taken or lost.
SHORT_LANE_MESSAGES: Final = 128
#: Looked at in one sweep of a lane that is short but not empty: lost ids are older than those that still wait in it,
#: so that few are enough, and the others need no second message.
CROWDED_LANE_ALARMS: Final = 100


class Sweeper:
    """Sweeps for one worker process.

    What the broker does not take (it is away, or full) is offered to ``run_here``, which runs what this process can.
    ``tell`` tells the webhooks named as callbacks of what has ended, and returns of how many calls. ``company`` is how
    many workers live, ``chance`` a number from 0 to 1.
    """

    def __init__(
        self,
        store: InvocationStore,
        publisher: Publisher,
        run_here: Callable[[Ready], object],
        *,
        tell: Callable[[], int] = int,
        company: Callable[[], int] = lambda: 1,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._run_here = run_here
        self._tell = tell
        self._company = company
        self._chance = chance
        self._is_behind = False  # the last sweep has left something undone
        self.moves = 0  # sweeps that came to their end
        self.broker_away = False  # as the last one found it
        self._failures = Failures("sweep")

    def sweep(self) -> None:
        """Sweep once, unless enough others do. Never raises for a server that is away: the next one comes."""
        try:
            self._sweep()
        except Unavailable as error:
            self._failures.note(error)
        else:
            self._failures.over()
        self.moves += 1

    def _sweep(self) -> None:
        depths = self._publisher.depths()
        self.broker_away = not depths
        if self._is_left_to_others():
            return
        empty = [lane for lane, depth in depths.items() if not depth]
        short = [lane for lane, depth in depths.items() if 0 < depth < SHORT_LANE_MESSAGES]
        ready = self._store.sweep(empty, short, limit=ALARMS, lane_limit=CROWDED_LANE_ALARMS)
        if ready:
            self._publish(ready)
            event(Event.SWEPT, published=len(ready))
        dropped = self._store.drop_contents(limit=RECORDS)
        if dropped:
            event(Event.CONTENTS_DROPPED, records=dropped)
        self._revisit()
        expired = self._expire()
        if expired:
            event(Event.EXPIRED, calls=expired)
        told = self._tell()
        if told:
            event(Event.CALLED_BACK, calls=told)
        forgotten = self._prune()
        if forgotten:
            event(Event.PRUNED, records=forgotten)
        self._is_behind = len(ready) >= ALARMS or max(expired, told) >= CALLS or forgotten >= RECORDS

    def _is_left_to_others(self) -> bool:
        """Return whether enough other workers sweep in this period.

        With the broker away each has to run what it can.
        """
        if self.broker_away or self._is_behind:
            return False
        return self._chance() * self._company() >= SWEEPS

    def _prune(self) -> int:
        """Forget what is old, a bounded piece at a time, so that nobody waits for more than one of them."""
        until_s = time.monotonic() + PRUNING_S
        forgotten = 0
        while True:
            piece = self._store.prune(limit=RECORDS)
            forgotten += piece
            if piece < RECORDS or time.monotonic() > until_s:
                return forgotten

    def _revisit(self) -> None:
        """Go through calls of webhooks about which something was decided, where whoever decided it has not done so."""
        until_s = time.monotonic() + REVISITING_S
        for plugin, webhook_id in self._store.revisits(limit=WEBHOOKS):
            for ready in self._store.revisit(plugin, webhook_id):
                self._publish(ready)
                if time.monotonic() > until_s:
                    return

    def _expire(self) -> int:
        """End calls that have had their time; returns how many."""
        until_s = time.monotonic() + EXPIRING_S
        ended, more = 0, True
        while more and time.monotonic() < until_s:
            count, more, ready = self._store.expire(limit=CALLS)
            ended += count
            self._publish(ready)
        return ended

    def _publish(self, ready: Ready) -> None:
        unpublished = self._publisher.publish_ready(ready) if ready else ()
        if unpublished:
            self._run_here(unpublished)
