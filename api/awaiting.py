"""Lets callers wait for invocations to end, each in its own thread, woken by the process's one subscription.

A caller expects its reference id *before* the trigger is accepted, so that no notice can come too early. The listener
opens no result: it only hands each notice to the waiting threads.
"""

from __future__ import annotations

import threading
import time
from enum import Enum
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypeAlias

from relay.accept.dispatcher import accepted_or_raise
from relay.domain.invocation import State
from relay.domain.shares import may_hold_more
from relay.errors import Unavailable
from relay.process.loops import give_up
from relay.store.ledger.acceptance import Accepted, AcceptVerdict

if TYPE_CHECKING:
    from relay.domain.invocation import Invocation
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.notices import Notice, Subscription

#: How often a caller looks at the record, in seconds: a notice may be lost without an error, as between two servers of
#: a cluster whose connection broke.
_LOOK_AGAIN_S: Final = 5.0

#: The plugin and the id of a webhook.
WebhookName: TypeAlias = tuple[str, str]


class Signal(Enum):
    """A reason to wake a waiting caller without a notice."""

    LOOK = "look"  # notices may have been lost: look at the record
    OVER = "over"  # stop waiting


class Waiters:
    """The callers that wait in this process: at most ``max_waiters``, and no more for one webhook than its share."""

    def __init__(self, subscription: Subscription, store: InvocationStore, max_waiters: int) -> None:
        self.process = subscription.process
        self.store = store
        self._subscription = subscription
        self._max_waiters = max_waiters
        self._lock = threading.Lock()
        self._expected: dict[str, list[Expectation]] = {}
        self._count = 0  # callers that wait
        self._held: dict[WebhookName, int] = {}  # how many of them for each webhook
        self._closed = False

    def start(self) -> None:
        """Start the thread that listens for notices."""
        threading.Thread(target=self._listen, name="notices", daemon=True).start()

    def release(self) -> None:
        """End all waits, and refuse new ones: the process is about to stop."""
        with self._lock:
            self._closed = True
        self._tell_all(Signal.OVER)

    def expect(self, reference_id: str, webhook: WebhookName) -> Expectation | None:
        """Expect an invocation's end from now on, until `Expectation.close`; return None if there is no room to wait.

        The callers of a slow webhook must leave room for those of others.
        """
        with self._lock:
            held, free = self._held.get(webhook, 0), self._max_waiters - self._count
            if self._closed or free <= 0 or not may_hold_more(held, free):
                return None
            self._held[webhook] = held + 1
            self._count += 1
            expectation = Expectation(self, reference_id, webhook)
            self._expected.setdefault(reference_id, []).append(expectation)
        return expectation

    def move(self, expectation: Expectation, reference_id: str, to: str) -> None:
        """Hand notices of another invocation to an expectation from now on."""
        with self._lock:
            self._remove(expectation, reference_id)
            self._expected.setdefault(to, []).append(expectation)

    def leave(self, expectation: Expectation, reference_id: str, webhook: WebhookName) -> None:
        """Hand nothing more to an expectation, and give back its room, which counted towards its webhook's share."""
        with self._lock:
            self._remove(expectation, reference_id)
            self._count -= 1
            self._held[webhook] -= 1
            if not self._held[webhook]:
                del self._held[webhook]

    def _remove(self, expectation: Expectation, reference_id: str) -> None:
        waiting = self._expected[reference_id]
        waiting.remove(expectation)
        if not waiting:
            del self._expected[reference_id]

    def _listen(self) -> None:
        try:
            self._subscription.run(self._deliver, self._renew, threading.Event())  # runs until the process ends
        except BaseException as error:  # noqa: BLE001 - without the listener, callers would wait in vain
            give_up(error, "notices")

    def _deliver(self, notice: Notice) -> None:
        with self._lock:
            waiting = tuple(self._expected.get(notice.reference_id, ()))
        for expectation in waiting:
            expectation.tell(notice)

    def _renew(self) -> None:
        self._tell_all(Signal.LOOK)

    def _tell_all(self, signal: Signal) -> None:
        with self._lock:
            waiting = [expectation for each in self._expected.values() for expectation in each]
        for expectation in waiting:
            expectation.tell(signal)


class Expectation:
    """One caller's wait for one invocation; it begins before the trigger is accepted."""

    def __init__(self, waiters: Waiters, reference_id: str, webhook: WebhookName) -> None:
        self._waiters = waiters
        self._reference_id = reference_id
        self._webhook = webhook
        self._plugin, _ = webhook
        self._signals: SimpleQueue[Notice | Signal] = SimpleQueue()
        self._reply: Accepted | Exception | None = None  # the dispatcher's reply to the trigger
        self._replied: SimpleQueue[None] = SimpleQueue()
        self._impatient = False  # the caller waits for the reply itself
        self._joined = False  # an older invocation is expected, and this process will get its notice

    def close(self) -> None:
        """Stop waiting, and make room for another caller."""
        self._waiters.leave(self, self._reference_id, self._webhook)

    @property
    def accepted(self) -> Accepted:
        """The expected invocation. A notice may come before the reply; it then counts as accepted."""
        if isinstance(self._reply, Exception) or self._reply is None:
            return Accepted(AcceptVerdict.ACCEPTED, self._reference_id, State.QUEUED)
        return self._reply

    def follow(self, accepted: Accepted) -> Invocation:
        """Expect an older invocation instead; return its record as it was when its notice was requested."""
        if accepted.reference_id != self._reference_id:
            self._waiters.move(self, self._reference_id, accepted.reference_id)
            self._reference_id = accepted.reference_id
        self._reply = accepted
        invocation = self._waiters.store.join(self._plugin, self._reference_id, process=self._waiters.process)
        self._joined = True
        return invocation

    def tell(self, signal: Notice | Signal) -> None:
        """Wake the caller with a notice or a signal."""
        self._signals.put(signal)

    def reply(self, reply: Accepted | Exception) -> None:
        """Take the reply to the trigger. A plain acceptance does not wake the caller, who waits for the end anyway."""
        plain = not isinstance(reply, Exception) and reply.verdict is AcceptVerdict.ACCEPTED
        self._reply = reply
        if self._impatient:
            self._replied.put(None)
        elif not plain:
            self._signals.put(Signal.LOOK)

    def wait(self, deadline_s: float) -> Notice | Invocation | None:
        """Wait for the invocation's end, until ``deadline_s`` of the monotonic clock.

        The record is read every few seconds, when notices may have been lost, and when the time is up. The notice of
        an invocation older than the trigger has to be requested.

        Returns:
            The notice, or the record, which is final unless the time was up; None if it could not be read then, or if
            its end was not yet on the replicas that are asked for.

        Raises:
            RelayError: the trigger was not accepted (`relay.accept.dispatcher.Dispatcher.submit`).
        """
        while True:
            signal = self._next(deadline_s)
            if not isinstance(signal, Signal):
                return signal
            accepted = self._acceptance()
            try:
                invocation = self._look(accepted)
            except Unavailable:
                if signal is Signal.OVER or time.monotonic() >= deadline_s:  # a silent store takes long to give up
                    return None
                continue  # the next look may find it
            if invocation.final or signal is Signal.OVER:
                return invocation

    def _acceptance(self) -> Accepted:
        """Wait for the reply to the trigger, and return it or raise it; the store's own time-outs bound this wait."""
        self._impatient = True
        if self._reply is None:
            self._replied.get()
        if self._reply is None:
            raise Unavailable
        return accepted_or_raise(self._reply)

    def _look(self, accepted: Accepted) -> Invocation:
        if accepted.verdict is AcceptVerdict.ACCEPTED or self._joined:
            return self._waiters.store.get_confirmed(self._plugin, self._reference_id)
        return self.follow(accepted)

    def _next(self, deadline_s: float) -> Notice | Signal:
        left_s = deadline_s - time.monotonic()
        try:
            return self._signals.get(timeout=min(left_s, _LOOK_AGAIN_S)) if left_s > 0 else self._signals.get_nowait()
        except Empty:
            return Signal.LOOK if left_s > _LOOK_AGAIN_S else Signal.OVER
