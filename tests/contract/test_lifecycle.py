"""`TRANSITIONS` is true: the scripts make exactly the listed transitions.

Every script is run on an invocation in each state and circumstance, and the resulting transitions are recorded.
"""

from __future__ import annotations

import contextlib
import itertools
import time

import pytest

from relay.domain.invocation import FINAL, TRANSITIONS, Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.errors import Conflict, NotFound
from relay.store.ledger.transitions import NewStep
from relay.store.replays.runs import NewReplay
from relay.store.scripting.scripts import Scripts
from tests.contract.ledger import LIMITS
from tests.contract.replay_harness import ReplayHarness
from tests.depth import DEEP
from tests.store_keys import KEYS

HOUR_MS = 3600 * 1000
RESULTS = (State.DELIVERED, State.UNREACHABLE, State.REJECTED, State.RETRYING)

LISTED = {
    (state, after, by)
    for state, targets in TRANSITIONS.items()
    for after, transitions in targets.items()
    for by in transitions
}


# -- states: each function brings an invocation into one, and returns its reference id and the token of its claim --


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
    ledger.client.hset(KEYS.record(ref), "losses", 2)
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


WAYS_INTO = {
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


# -- circumstances: what may keep a webhook from sending ------------------------------------------------------------


def free(_ledger):
    pass


def full(ledger):
    ledger.client.hset(KEYS.policy("acme", "hook"), "concurrency", 1)
    ledger.client.zadd(KEYS.running("acme", "hook"), {"another": int(time.time() * 1000) + HOUR_MS})


def paused(ledger):
    ledger.client.hset(KEYS.policy("acme", "hook"), "paused", 1)


def broken(ledger, retry=""):
    until = int(time.time() * 1000) + HOUR_MS
    ledger.client.hset(KEYS.policy("acme", "hook"), mapping={"openUntil": until, "openFor": HOUR_MS, "retry": retry})


def broken_with_retry(ledger):
    broken(ledger, retry="1")


def removed(ledger):
    ledger.client.hdel(KEYS.webhooks("acme"), "hook")
    ledger.client.hset(KEYS.policy("acme", "hook"), "removed", 1)


CIRCUMSTANCES = (free, full, paused, broken, broken_with_retry, removed)


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
    ledger.accept([ledger.new(reference_id=ref, **changes)])


def cancel(ledger, ref, _token):
    with contextlib.suppress(Conflict, NotFound):
        ledger.store.cancel(ref)


def a_job(ledger):
    """Make a replay job of one original; return the harness, the job, and its holder's token."""
    harness = ReplayHarness(ledger)
    job = harness.start(reference_ids=[ledger.accepted(refusal=Outcome.REQUEST_REJECTED)])
    return harness, job, harness.take(job)


def replay(ledger, ref, _token):
    harness, job, holder = a_job(ledger)
    harness.runs.create(job.replay_id, holder, 0, [NewReplay(ref, 1, 20_000, payload=b"\x01")])


def cancel_replay(ledger, ref, _token):
    harness, job, _ = a_job(ledger)
    if ledger.client.exists(KEYS.record(ref)):
        ledger.client.hset(KEYS.record(ref), "replay", job.replay_id)
        ledger.client.sadd(f"{KEYS.replay(job.replay_id)}:open", ref)
    harness.replays.cancel("acme", job.replay_id)


def expire(ledger, _ref, _token):
    """Run `expire` on everything that is not final, whatever its age."""
    ledger.look_at_ages()
    ledger.store.expire(limit=100)


def aged(act):
    """Return the same act, for a call whose time is over."""

    def act_on_aged(ledger, ref, token):
        if ledger.client.exists(KEYS.record(ref)):
            ledger.client.hset(KEYS.record(ref), "endBy", 1)
        act(ledger, ref, token)

    return act_on_aged


def restore(ledger, ref, _token, *, has_to_end=False):
    """Decide about a call as the end of a restore does."""
    ledger.client.hset(KEYS.pending(), "fence", 1)
    args = [*LIMITS.retention_args, 1, ref, "1" * has_to_end]
    Scripts(ledger.client).run("restore", args)
    ledger.client.hdel(KEYS.pending(), "fence")


def acts():
    """Return pairs of a transition and an act, with the token of the claim's holder and with a wrong one."""
    yield "accept", accept
    yield "accept", lambda ledger, ref, token: accept(ledger, ref, token, refusal=Outcome.REQUEST_REJECTED)
    yield "claim", lambda ledger, ref, _: ledger.store.claim([ref], ledger.token())
    yield "claim", lambda ledger, ref, token: ledger.store.claim([ref], token)
    yield "claim", lambda ledger, ref, _: ledger.store.claim([], ledger.token(), park=[ref])
    yield "release", lambda ledger, ref, token: ledger.store.release([ref], token)
    yield "release", lambda ledger, ref, _: ledger.store.release([ref], "stranger")
    yield "cancel", cancel
    yield "replay_create", replay
    yield "replay_steer", cancel_replay
    yield "sweep", lambda ledger, ref, _: (ledger.ring(ref), ledger.store.sweep(limit=10))
    yield (
        "join",
        lambda ledger, ref, _: ledger.client.exists(KEYS.record(ref)) and ledger.store.join("acme", ref, "p"),
    )
    yield "revisit", lambda ledger, *_: list(ledger.store.revisit("acme", "hook"))
    yield "restore", restore
    yield "restore", lambda ledger, ref, token: restore(ledger, ref, token, has_to_end=True)
    yield "expire", expire
    yield "expire", aged(expire)
    yield "claim", aged(lambda ledger, ref, _: ledger.store.claim([ref], ledger.token()))
    yield "settle", aged(lambda ledger, ref, token: settle(ledger, ref, token, State.RETRYING))
    for state in RESULTS:
        yield "settle", lambda ledger, ref, token, state=state: settle(ledger, ref, token, state)
        yield "settle", lambda ledger, ref, _, state=state: settle(ledger, ref, "stranger", state)


def empty(ledger):
    ledger.client.flushall()
    ledger.client.hset(KEYS.webhooks("acme"), "hook", 1)


def park_beside(ledger, count):
    """Park other calls of the webhook, each of which a freed place would wake."""
    if count:
        ledger.store.claim([], ledger.token(), park=[ledger.accepted() for _ in range(count)])


def position(ledger, ref):
    """Return what a transition changes in a record: the state, the token, and the time of the next attempt."""
    state, *held = ledger.client.hmget(KEYS.record(ref), "state", "token", "notBefore")
    return (State(state.decode()) if state else None, *((each or b"") for each in held))


def happened(ledger, states, circumstances=CIRCUMSTANCES):
    """Return the transitions seen when every act met invocations in these states, in every circumstance."""
    for state in states:
        every = itertools.product(WAYS_INTO[state], (True, False), circumstances, acts())
        for bring, repeatable, circumstance, (name, act) in every:
            empty(ledger)
            ref, token = bring(ledger, repeatable)
            before = position(ledger, ref)
            assert before[0] is state
            circumstance(ledger)
            act(ledger, ref, token)
            after = position(ledger, ref)
            if after != before:
                yield state, after[0], name


# -- chains: one script may move a chain's parent and its steps --------------------------------------------------------


class Family:
    """An accepted chain and its steps; ``held`` has the tokens of those being sent."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.held = {}
        self.new = self.step()
        self.parent = ledger.accepted(pins='{"hook":1}', repeatable=True, timeout_ms=120_000)

    def step(self, **changes):
        fields = {"reference_id": new_reference_id(), "webhook_id": "hook", "revision": 1, "timeout_ms": 20_000}
        return NewStep(**fields | {"repeatable": False, "payload": b"\x01step", "request_bytes": 10} | changes)

    def claim(self, ref):
        self.held[ref] = self.ledger.token()
        assert self.ledger.store.claim([ref], self.held[ref]).granted

    def begin(self, ref, **changes):
        """Advance a chain so that it waits for one step; return the step's reference id."""
        new = self.step(**changes)
        self.ledger.advance(ref, new)
        return new.reference_id

    def everybody(self):
        inner = [ref for each in (self.parent, self.new.reference_id) for ref in self.steps(each)]
        inner += [ref for each in inner for ref in self.steps(each)]
        return dict.fromkeys([self.parent, self.new.reference_id, *inner])

    def steps(self, ref):
        return [each.decode() for each in self.ledger.client.lrange(KEYS.steps(ref), 0, -1)]


def a_new_chain(_family):
    pass


def a_step_queued(family):
    family.begin(family.parent)


def a_step_sending(family, **changes):
    ref = family.begin(family.parent, **changes)
    family.claim(ref)
    return ref


def a_step_retrying(family):
    ref = a_step_sending(family)
    settle(family.ledger, ref, family.held[ref], State.RETRYING)


def a_step_lost(family):
    family.ledger.lose_lease(a_step_sending(family))


def a_chain_in_a_chain(family):
    return family.begin(family.parent, pins='{"hook":1}', repeatable=True)


def a_step_in_a_chain_in_a_chain(family):
    inner = a_chain_in_a_chain(family)
    family.ledger.advance(inner, family.step())


def a_step_without_its_chain(family, state):
    ref = a_step_sending(family, repeatable=True)
    family.ledger.store.cancel(family.parent)
    if state is State.QUEUED:
        family.ledger.store.release([ref], family.held[ref])
    elif state is State.RETRYING:
        settle(family.ledger, ref, family.held[ref], state)
    else:
        family.ledger.lose_lease(ref)


SITUATIONS = (
    a_new_chain,
    a_step_queued,
    a_step_sending,
    a_step_retrying,
    a_step_lost,
    a_chain_in_a_chain,
    a_step_in_a_chain_in_a_chain,
    lambda family: a_step_without_its_chain(family, State.QUEUED),
    lambda family: a_step_without_its_chain(family, State.RETRYING),
    lambda family: a_step_without_its_chain(family, State.SENDING),
)


def is_chain(ledger, ref):
    return ledger.client.hget(KEYS.record(ref), "chain") == b"1"


def advance(family, ref, ends=None):
    if is_chain(family.ledger, ref) and ends:
        family.ledger.end_chain(ref, state=ends)
    elif is_chain(family.ledger, ref):
        family.ledger.advance(ref, family.new)


def family_acts():
    for name, act in acts():
        if name not in {"accept", "join", "replay_create", "replay_steer"}:
            yield name, lambda family, ref, token, act=act: act(family.ledger, ref, token)
    for ends in (None, State.DELIVERED, State.UNREACHABLE, State.REJECTED):
        yield "advance", lambda family, ref, _token, ends=ends: advance(family, ref, ends)


def families(ledger, situation, late, parked=0):
    """Yield, for each member of a chain in a situation, a new chain with its members and that member."""
    for index in itertools.count():
        empty(ledger)
        park_beside(ledger, parked)
        family = Family(ledger)
        situation(family)
        everybody = list(family.everybody())
        if index == len(everybody):
            break
        for ref in filter(lambda ref: late and is_chain(ledger, ref), everybody):
            ledger.client.hset(KEYS.record(ref), "deadline", 1)
        yield family, everybody, everybody[index]


def happened_in_chains(ledger):
    """Return the transitions, of the chain and its steps, seen when every act met one invocation of the chain."""
    for situation, late, (name, act) in itertools.product(SITUATIONS, (False, True), family_acts()):
        for family, everybody, met in families(ledger, situation, late):
            before = {ref: position(ledger, ref) for ref in everybody}
            act(family, met, family.held.get(met, "nobody"))
            for ref, was in before.items():
                after = position(ledger, ref)
                if after != was:
                    yield was[0], after[0], name


#: The real server suffices except in deep runs: all other tests of scripts show that the fake runs them alike.
SERVERS = ["valkey", "fakeredis"] if DEEP else ["valkey"]
every_server = pytest.mark.parametrize("redis_client", SERVERS, indirect=True)


@pytest.mark.timeout(400)  # the fake compiles scripts anew for every run
@every_server
def test_exactly_the_listed_transitions_happen(ledger):
    unfinished = [state for state in WAYS_INTO if state not in FINAL]
    seen = {*happened(ledger, unfinished), *happened_in_chains(ledger)}
    assert sorted(map(str, seen ^ LISTED)) == []


@every_server
def test_nothing_leaves_a_final_state(ledger):
    assert not FINAL & TRANSITIONS.keys()
    assert not set(happened(ledger, sorted(FINAL), (free, broken_with_retry)))


def claimed_twice(ledger, ref, wanted):
    """Claim a call twice with one token, as redis-py does when the first reply is lost; return both replies."""
    token = ledger.token()
    for _ in range(2):
        claimed = ledger.store.claim([ref] if wanted else [], token, park=[] if wanted else [ref])
        yield claimed.granted, claimed.parked, sorted(claimed.ready)


@every_server
@pytest.mark.parametrize("is_aged", [False, True])
def test_a_repeated_claim_gives_the_same_answer(ledger, is_aged):
    states = [bring for state in WAYS_INTO if state for bring in WAYS_INTO[state]]
    for bring, repeatable, circumstance, wanted in itertools.product(
        states, (True, False), CIRCUMSTANCES, (True, False)
    ):
        empty(ledger)
        park_beside(ledger, 2)
        ref, _ = bring(ledger, repeatable)
        circumstance(ledger)
        if is_aged:
            ledger.client.hset(KEYS.record(ref), "endBy", 1)
        first, again = claimed_twice(ledger, ref, wanted)
        assert first == again, (bring.__name__, repeatable, circumstance.__name__, wanted)


@every_server
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_repeated_claim_of_a_chain_or_a_step_gives_the_same_answer(ledger, situation, late):
    for _, everybody, met in families(ledger, situation, late, parked=2):
        first, again = claimed_twice(ledger, met, wanted=True)
        assert first == again, everybody.index(met)


def test_every_state_that_can_be_reached_is_looked_at():
    assert {after for _, after, _ in LISTED} | {None} == WAYS_INTO.keys() | {State.WAITING} == {None, *State}
