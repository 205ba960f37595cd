"""Carries claimed calls to their settlement: gate, send, classify, mask, settle; a greenlet each."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import gevent

from relay.chains import Create
from relay.clock import boot_time_s
from relay.errors import Unavailable
from relay.executor.active_calls import ActiveCalls
from relay.executor.chain_turns import ChainTurn
from relay.executor.claiming import RETRY_S
from relay.executor.conclusion import unsendable
from relay.executor.greenlet_pool import GreenletPool
from relay.executor.preparation import Prepared, Unsendable
from relay.executor.settling import Settler
from relay.store.transitions import Advance
from relay.telemetry import Event, event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.executor.active_calls import ActiveCall
    from relay.executor.chain_turns import ChainTurns
    from relay.executor.conclusion import Conclusion
    from relay.executor.slots import Slots
    from relay.outbound.sender import Sender
    from relay.store.invocations import InvocationStore
    from relay.store.transitions import CallRecord, NewStep, Ready


class Attempts:
    """The calls in flight of one process.

    ``go_on`` gets what may be run when calls have ended, ``let_go`` the ids of those that are in progress no more.
    """

    def __init__(
        self,
        store: InvocationStore,
        sender: Sender,
        conclusion: Conclusion,
        turns: ChainTurns,
        slots: Slots,
        *,
        go_on: Callable[[Ready, Sequence[CallRecord]], None],
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
        self._active_calls = ActiveCalls()
        self._pool = GreenletPool(self._carry_out)

    def __len__(self) -> int:
        return len(self._active_calls)

    @property
    def settler_moves(self) -> int:
        """How often the settler has gone on."""
        return self._settler.moves

    def launch(self, active: ActiveCall) -> None:
        """Begin a claimed call, whose slot is taken."""
        self._slots.hold(active.webhook)
        self._active_calls.add(active)
        self._pool.start(active)

    def shut_unsent(self) -> dict[str, list[str]]:
        """Keep what has not left from leaving: reference ids by claim token, to be given back."""
        return self._active_calls.shut_unsent()

    def flush(self, timeout_s: float) -> None:
        """Settle what has ended, at most for so long."""
        self._settler.flush(timeout_s)

    def _carry_out(self, active: ActiveCall) -> None:
        call = active.call
        sent_ms = active.claimed_at_ms + int((boot_time_s() - active.claimed_at_s) * 1000)
        if not isinstance(call, Prepared):
            self._slots.answered(active.webhook, 0.0)  # no endpoint is asked
        if isinstance(call, ChainTurn):
            self._take_turn(active, call)
            return
        if isinstance(call, Unsendable):
            settlement = unsendable(call, active.claim_token, sent_ms)
        else:
            answer = self._sender.send(
                call.request, gate=active.gate, deadline_s=active.gate.deadline_s, repeatable=call.shape.repeatable
            )
            self._slots.answered(active.webhook, boot_time_s() - active.claimed_at_s)
            if active.released:
                self._done([active.reference_id])
                return
            settlement = self._conclusion.conclude(call, active.claim_token, answer, sent_ms)
        self._settler.put(settlement)

    def _take_turn(self, active: ActiveCall, turn: ChainTurn) -> None:
        """Take a chain further: create its next step and let it wait, or settle its end."""
        if isinstance(turn.next, Create):
            news = self._turns.new_steps(turn, turn.next)
            verdict, ready = self._advance_surely(active, turn.next.step, news)
            self._go_on(ready, ())
            if verdict is not Advance.TOO_MANY:
                self._done([active.reference_id])
                return
        self._settler.put(self._turns.end(turn, active.claim_token))

    def _advance_surely(self, active: ActiveCall, step: int, news: Sequence[NewStep]) -> tuple[Advance, Ready]:
        while True:
            try:
                return self._store.advance(active.reference_id, active.claim_token, step, news)
            except Unavailable:
                event(Event.STORE_AWAY, level=logging.WARNING, doing="advance", calls=len(news))
                gevent.sleep(RETRY_S)

    def _done(self, reference_ids: Sequence[str]) -> None:
        self._let_go(reference_ids)
        now_s = boot_time_s()
        for reference_id in reference_ids:
            active = self._active_calls.end(reference_id)
            self._slots.leave(active.webhook, now_s - active.claimed_at_s)
