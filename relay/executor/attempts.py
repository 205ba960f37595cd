"""Carries claimed calls to their settlement: gate, send, classify, mask, settle; a greenlet each."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import gevent

from relay.chains import Create
from relay.clock import boot_time_s
from relay.errors import Unavailable
from relay.executor.claiming import RETRY_S
from relay.executor.conclusion import unsendable
from relay.executor.crew import Crew
from relay.executor.flights import Flights
from relay.executor.preparation import Prepared, Unsendable
from relay.executor.settling import Settler
from relay.executor.turns import Turn
from relay.store.transitions import Advance
from relay.telemetry import Event, event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.executor.conclusion import Conclusion
    from relay.executor.flights import Flight
    from relay.executor.slots import Slots
    from relay.executor.turns import Turns
    from relay.outbound.sender import Sender
    from relay.store.invocations import InvocationStore
    from relay.store.transitions import NewStep, Published, Ready


class Attempts:
    """The calls in flight of one process.

    ``go_on`` gets what may be run when calls have ended, ``let_go`` the ids of those that are in hand no more.
    """

    def __init__(
        self,
        store: InvocationStore,
        sender: Sender,
        conclusion: Conclusion,
        turns: Turns,
        slots: Slots,
        *,
        go_on: Callable[[Ready, Sequence[Published]], None],
        let_go: Callable[[Sequence[str]], None],
    ) -> None:
        self._store = store
        self._sender = sender
        self._conclusion = conclusion
        self._turns = turns
        self._slots = slots
        self._go_on = go_on
        self._let_go = let_go
        self._settler = Settler(store, self._done, go_on)
        self._flights = Flights()
        self._crew = Crew(self._fly)

    def __len__(self) -> int:
        return len(self._flights)

    def launch(self, flight: Flight) -> None:
        """Begin a claimed call, whose slot is taken."""
        self._slots.hold(flight.holder)
        self._flights.add(flight)
        self._crew.start(flight)

    def shut_unsent(self) -> dict[str, list[str]]:
        """Keep what has not left from leaving: reference ids by token, to be given back."""
        return self._flights.shut_unsent()

    def flush(self, timeout_s: float) -> None:
        """Settle what has ended, at most for so long."""
        self._settler.flush(timeout_s)

    def _fly(self, flight: Flight) -> None:
        call = flight.call
        sent_ms = flight.claimed_at_ms + int((boot_time_s() - flight.claimed_at_s) * 1000)
        if not isinstance(call, Prepared):
            self._slots.answered(flight.holder, 0.0)  # no endpoint is asked
        if isinstance(call, Turn):
            self._take_turn(flight, call)
            return
        if isinstance(call, Unsendable):
            settlement = unsendable(call, flight.token, sent_ms)
        else:
            answer = self._sender.send(
                call.request, gate=flight.gate, deadline_s=flight.gate.deadline_s, repeatable=call.shape.repeatable
            )
            self._slots.answered(flight.holder, boot_time_s() - flight.claimed_at_s)
            if flight.released:
                self._done([flight.reference_id])
                return
            settlement = self._conclusion.conclude(call, flight.token, answer, sent_ms)
        self._settler.put(settlement)

    def _take_turn(self, flight: Flight, turn: Turn) -> None:
        """Take a chain further: create its next step and let it wait, or settle its end."""
        if isinstance(turn.next, Create):
            news = self._turns.new_steps(turn, turn.next)
            verdict, ready = self._advance_surely(flight, turn.next.step, news)
            self._go_on(ready, ())
            if verdict is not Advance.TOO_MANY:
                self._done([flight.reference_id])
                return
        self._settler.put(self._turns.end(turn, flight.token))

    def _advance_surely(self, flight: Flight, step: int, news: Sequence[NewStep]) -> tuple[Advance, Ready]:
        while True:
            try:
                return self._store.advance(flight.reference_id, flight.token, step, news)
            except Unavailable:
                event(Event.STORE_AWAY, level=logging.WARNING, doing="advance", calls=len(news))
                gevent.sleep(RETRY_S)

    def _done(self, reference_ids: Sequence[str]) -> None:
        self._let_go(reference_ids)
        now_s = boot_time_s()
        for reference_id in reference_ids:
            flight = self._flights.end(reference_id)
            self._slots.leave(flight.holder, now_s - flight.claimed_at_s)
