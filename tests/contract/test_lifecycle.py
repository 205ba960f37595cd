"""`TRANSITIONS` is what the scripts do: every transition listed happens, and nothing else does.

Each state in every circumstance meets every script, and what became of it is written down.
"""

from __future__ import annotations

import contextlib
import itertools
import time

import pytest

from relay.errors import Conflict, NotFound
from relay.invocation import FINAL, TRANSITIONS, Outcome, State, new_reference_id
from relay.store import keyspace

HOUR_MS = 3600 * 1000
RESULTS = (State.DELIVERED, State.UNREACHABLE, State.REJECTED, State.RETRYING)

LISTED = {
    (state, after, by)
    for state, targets in TRANSITIONS.items()
    for after, transitions in targets.items()
    for by in transitions
}


# -- states: how an invocation comes to be in each; they give its id and the token that holds it -------------------


def nothing(_ledger, repeatable):
    del repeatable
    return new_reference_id(), "nobody"


def queued(ledger, repeatable):
    return ledger.accepted(repeatable=repeatable), "nobody"


def sending(ledger, repeatable):
    return ledger.claimed(repeatable=repeatable)


def lost(ledger, repeatable):
    ref, token = sending(ledger, repeatable)
    ledger.lose_lease(ref)
    return ref, token


def lost_thrice(ledger, repeatable):
    ref, token = lost(ledger, repeatable)
    ledger.client.hset(keyspace.record(ref), "losses", 2)
    return ref, token


def retrying(ledger, repeatable, delay_ms=0):
    ref, token = sending(ledger, repeatable)
    settle(ledger, ref, token, State.RETRYING, delay_ms=delay_ms)
    return ref, token


def retrying_later(ledger, repeatable):
    return retrying(ledger, repeatable, delay_ms=HOUR_MS)


def settled(state):
    def bring(ledger, repeatable):
        ref, token = sending(ledger, repeatable)
        settle(ledger, ref, token, state)
        return ref, token

    return bring


def interrupted(ledger, repeatable):
    ref, token = lost_thrice(ledger, repeatable)
    ledger.store.claim([ref], ledger.token())
    return ref, token


def cancelled(ledger, repeatable):
    ref, token = queued(ledger, repeatable)
    ledger.store.cancel(ref)
    return ref, token


def refused(ledger, repeatable):
    return ledger.accepted(repeatable=repeatable, refusal=Outcome.REQUEST_REJECTED), "nobody"


BROUGHT = {
    None: (nothing,),
    State.QUEUED: (queued,),
    State.SENDING: (sending, lost, lost_thrice),
    State.RETRYING: (retrying, retrying_later),
    State.DELIVERED: (settled(State.DELIVERED),),
    State.UNREACHABLE: (settled(State.UNREACHABLE),),
    State.INTERRUPTED: (interrupted,),
    State.REJECTED: (settled(State.REJECTED), refused),
    State.CANCELLED: (cancelled,),
}


# -- circumstances: what may stand in a webhook's way ---------------------------------------------------------------


def free(_ledger):
    pass


def full(ledger):
    ledger.client.hset(keyspace.policy("acme", "hook"), "concurrency", 1)
    ledger.client.zadd(keyspace.running("acme", "hook"), {"another": int(time.time() * 1000) + HOUR_MS})


def paused(ledger):
    ledger.client.hset(keyspace.policy("acme", "hook"), "paused", 1)


def broken(ledger, retry=""):
    until = int(time.time() * 1000) + HOUR_MS
    ledger.client.hset(keyspace.policy("acme", "hook"), mapping={"openUntil": until, "openFor": 30_000, "retry": retry})


def broken_with_retry(ledger):
    broken(ledger, retry="1")


CIRCUMSTANCES = (free, full, paused, broken, broken_with_retry)


# -- acts: every script that is given an id -------------------------------------------------------------------------


def settle(ledger, ref, token, state, **changes):
    has_result = state is not State.REJECTED
    fields = {
        "state": state,
        "status": 200 if has_result else None,
        "error": state is not State.DELIVERED if has_result else None,
        "result": b"",
    }
    ledger.store.settle([ledger.settlement(ref, token, **(fields | changes))])


def accept(ledger, ref, _token, **changes):
    ledger.store.accept([ledger.new(reference_id=ref, **changes)])


def cancel(ledger, ref, _token):
    with contextlib.suppress(Conflict, NotFound):
        ledger.store.cancel(ref)


def acts():
    """(transition, what is done): with the holder's token and with another's."""
    yield "accept", accept
    yield "accept", lambda ledger, ref, token: accept(ledger, ref, token, refusal=Outcome.REQUEST_REJECTED)
    yield "claim", lambda ledger, ref, _: ledger.store.claim([ref], ledger.token())
    yield "claim", lambda ledger, ref, token: ledger.store.claim([ref], token)
    yield "claim", lambda ledger, ref, _: ledger.store.claim([], ledger.token(), park=[ref])
    yield "release", lambda ledger, ref, token: ledger.store.release([ref], token)
    yield "release", lambda ledger, ref, _: ledger.store.release([ref], "stranger")
    yield "cancel", cancel
    yield "sweep", lambda ledger, ref, _: (ledger.ring(ref), ledger.store.sweep("w", ["bulk"], limit=10))
    yield (
        "join",
        lambda ledger, ref, _: ledger.client.exists(keyspace.record(ref)) and ledger.store.join("acme", ref, "p"),
    )
    for state in RESULTS:
        yield "settle", lambda ledger, ref, token, state=state: settle(ledger, ref, token, state)
        yield "settle", lambda ledger, ref, _, state=state: settle(ledger, ref, "stranger", state)


def position(ledger, ref):
    """What a transition moves."""
    state, *held = ledger.client.hmget(keyspace.record(ref), "state", "token", "notBefore")
    return (State(state.decode()) if state else None, *((each or b"") for each in held))


def happened(ledger, states, circumstances=CIRCUMSTANCES):
    """The transitions that were seen when invocations in these states met every circumstance and every act."""
    for state in states:
        every = itertools.product(BROUGHT[state], (True, False), circumstances, acts())
        for bring, repeatable, circumstance, (name, act) in every:
            ledger.client.delete(keyspace.policy("acme", "hook"), keyspace.running("acme", "hook"))
            ref, token = bring(ledger, repeatable)
            before = position(ledger, ref)
            assert before[0] is state
            circumstance(ledger)
            act(ledger, ref, token)
            after = position(ledger, ref)
            if after != before:
                yield state, after[0], name


@pytest.mark.parametrize("state", [state for state in BROUGHT if state not in FINAL], ids=str)
def test_exactly_the_listed_transitions_leave_a_state(ledger, state):
    assert set(happened(ledger, [state])) == {each for each in LISTED if each[0] is state}


def test_nothing_leaves_a_final_state(ledger):
    assert not FINAL & TRANSITIONS.keys()
    assert not set(happened(ledger, sorted(FINAL), (free, broken_with_retry)))


def test_every_state_that_can_be_reached_is_looked_at():
    reachable = {after for _, after, _ in LISTED} | {None}
    assert reachable == BROUGHT.keys()
