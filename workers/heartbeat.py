"""Writes a worker's heartbeat while all its parts move, and ends the process if a part is stuck."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Final

import gevent
from gevent import monkey
from gevent.threadpool import ThreadPool

from relay.errors import Unavailable
from relay.process.clock import boot_time_s
from relay.process.pulse import LOOK_S, STUCK_LOOKS, Part, Pulse
from relay.queue import URGENT
from relay.store.server.clock import ServerClock
from relay.telemetry import log
from workers.bootsteps import Looping, Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from celery.worker import WorkController

    from relay.queue import Publisher
    from relay.store.health.workers import Workers

#: The exit status of a worker in which a part is stuck.
STUCK: Final = 71
#: After how many seconds without an answer the broker counts as away.
AWAY_S: Final = 3.0
_sleep: Final = monkey.get_original("time", "sleep")


class Consumer:
    """Tells whether Celery's event loop runs: gives it one callback at a time, and counts those that it has called."""

    def __init__(self, worker: WorkController) -> None:
        self._worker = worker
        self._rounds = 0
        self._asked = False

    def moves(self) -> int:
        """Return how many callbacks the loop has called; give it another one if none is outstanding."""
        consumer = getattr(self._worker, "consumer", None)
        if consumer is not None and not self._asked:
            self._asked = True
            consumer.call_soon(self._answer)
        return self._rounds

    def _answer(self) -> None:
        self._rounds += 1
        self._asked = False


class BrokerWatch:
    """Tells whether the broker answers: a consumer that waits for a silent broker is not stuck."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._answered_s = boot_time_s()

    @property
    def is_away(self) -> bool:
        """Whether the broker has not answered for some seconds."""
        return boot_time_s() - self._answered_s > AWAY_S

    def iterate(self) -> None:
        """Ask the broker something, however long it takes; then wait until it is time to ask again."""
        if self._publisher.depths((URGENT,)):
            self._answered_s = boot_time_s()
        gevent.sleep(LOOK_S)


class Heart:
    """Looks at the parts of a process once a second, and writes its heartbeat while all of them move."""

    def __init__(self, pulse: Pulse, workers: Workers, name: str, lanes: Collection[str]) -> None:
        self._pulse = pulse
        self._workers = workers
        self._name = name
        self._lanes = lanes
        self._clock = ServerClock()
        self.looks = 0

    def beat(self) -> list[str]:
        """Look once, and return the names of the parts that are stuck. While the store is away, looks do not count."""
        self.looks += 1
        try:
            if self._pulse.still:
                self._workers.alive()
            else:
                self._beat()
        except Unavailable:
            return []
        self._pulse.look()
        return self._pulse.stuck

    def _beat(self) -> None:
        asked_s = boot_time_s()
        jump = self._clock.note(self._workers.beat(self._name, self._lanes), asked_s, boot_time_s())
        if jump is not None:
            log.event(log.Event.CLOCK_JUMPED, level=logging.WARNING, by_ms=jump.by_ms)
            self._workers.note_jump(jump)


class Beating(Looping):
    """Boot step of the heartbeat, and of a thread outside gevent that ends a process whose greenlets do not run."""

    requires = (Upkeep,)

    def start(self, worker: WorkController) -> None:
        """Start the heartbeat and the thread."""
        parts, consumer = worker.parts, Consumer(worker)
        self._broker = BrokerWatch(parts.runtime.publisher)
        watched = (
            *parts.executor.parts(),
            Part("sweeper", lambda: parts.sweeper.moves),
            Part(
                "consumer",
                lambda: None if parts.executor.is_full else consumer.moves(),
                excused=lambda: self._broker.is_away,
            ),
        )
        lanes = list(worker.app.amqp.queues.consume_from)
        self._heart = Heart(Pulse(watched), parts.runtime.workers, worker.hostname, lanes)
        super().start(worker)
        self._thread = ThreadPool(1)
        self._thread.spawn(self._watch, self._heart)

    def loops(self, _worker: WorkController) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield what asks the broker, and the heartbeat; the thread ends when both have ended."""
        yield "broker", self._broker.iterate
        yield "heartbeat", partial(self._iterate, self._heart)

    @staticmethod
    def _iterate(heart: Heart) -> None:
        stuck = heart.beat()
        if stuck:
            log.event(log.Event.STUCK, level=logging.ERROR, parts=stuck)
            os._exit(STUCK)
        gevent.sleep(LOOK_S)

    def _watch(self, heart: Heart) -> None:
        """End the process if the heart has not looked for a minute: its greenlets hang. Runs in a thread of its own."""
        looks, missed = -1, 0
        while any(self._greenlets):
            _sleep(LOOK_S)
            missed = missed + 1 if heart.looks == looks else 0
            looks = heart.looks
            if missed >= STUCK_LOOKS:
                os._exit(STUCK)
