"""All interleavings of two calls, two workers, an operator, a sweeper and time; and runs with one act repeated.

Each actor does its acts in order, and all interleavings of the actors are tried. Interleavings that lead to the same
store are followed only once, because the scripts cannot tell them apart.
"""

from __future__ import annotations

import hashlib
import pickle

import pytest

from tests.contract.snapshots import digest, keep, put_back
from tests.contract.store_and_model import ENDS, LEASE_MS, StoreAndModel, reference_id
from tests.depth import DEEP

#: Lists that scripts append to and that no act of these tests reads: the audit trail, and uncounted notes.
APPENDED_ONLY = (":audit:entries", ":notes")
#: Webhooks, and how their calls end: the two most different pairs. The model's random runs cover the others.
PROGRAMS = [("plain", ENDS[0]), ("one", ENDS[3])]
if DEEP:
    PROGRAMS += [("again", ENDS[1]), ("two", ENDS[4]), ("quick", ENDS[3]), ("slow", ENDS[0]), ("brief", ENDS[3])]
A, B = reference_id(1), reference_id(2)


def settle_of(token, end):
    def settle(both):
        if in_flight := [call_in_flight for call_in_flight in both.in_flight if call_in_flight[1] == token]:
            both.settle(in_flight, end, delay_ms=1_000)

    return settle


def cancel_known(ref):
    def cancel(both):
        if ref in both.model.calls:
            both.cancel(ref)

    return cancel


def actors(hook, end):
    """Return the acts of each actor, in order."""
    return (
        (
            lambda both: both.accept(A, hook, key=("k", "p")),
            lambda both: both.accept(B, hook, published=False),
        ),
        (lambda both: both.claim([A, B], "t1"), settle_of("t1", end)),
        (lambda both: both.claim([B, A], "t2"), settle_of("t2", ENDS[0])),
        (cancel_known(A),),
        (lambda both: both.sweep(),),
        (lambda both: both.pass_time(LEASE_MS),),
    )


class Explored:
    """A saved store that an interleaving has led to; it is restored once for each act that may come next."""

    def __init__(self, both, done):
        self.done = done
        self._kept = keep(both.client)
        self._told = pickle.dumps((both.model, both.messages, both.in_flight, both.settled))

    def put_back(self, both):
        put_back(both.client, self._kept)
        both.model, both.messages, both.in_flight, both.settled = pickle.loads(self._told)


def position(both, done):
    """Return a digest of all that an act may depend on: the model, and the store without the lists no act reads."""
    store = digest(both.client, without=APPENDED_ONLY)
    calls = sorted(both.model.calls.items())
    told = repr((done, store, sorted(both.in_flight), calls, both.model.hooks))
    return hashlib.blake2b(told.encode()).digest()


def explore(client, hook, programs):
    """Play all interleavings; return how many different stores they lead to, and how many of those are ends."""
    both = StoreAndModel(client, [hook])
    seen, frontier, ends = set(), [Explored(both, (0,) * len(programs))], 0
    while frontier:
        explored = frontier.pop()
        for actor, acts in enumerate(programs):
            if explored.done[actor] == len(acts):
                continue
            explored.put_back(both)
            acts[explored.done[actor]](both)
            done = tuple(count + (index == actor) for index, count in enumerate(explored.done))
            if (here := position(both, done)) in seen:
                continue
            seen.add(here)
            both.check()
            if done == tuple(map(len, programs)):
                ends += 1
                both.drain()
            else:
                frontier.append(Explored(both, done))
    return len(seen), ends


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("hook", "end"), PROGRAMS)
def test_every_order_of_two_ids_and_two_workers_keeps_every_promise(valkey, hook, end):
    with valkey.client() as client:
        stores, ends = explore(client, hook, actors(hook, end))
    assert stores > 500
    assert ends > 10


def a_run(hook):
    """Return the acts of a run: all scripts, some after lost leases. Each act takes whether its reply is lost."""
    refs = [reference_id(number) for number in range(1, 6)]
    return [
        *(lambda both, repeat, ref=ref: both.accept(ref, hook, key=(ref, "p"), repeat=repeat) for ref in refs),
        lambda both, repeat: both.claim(refs[:3], "t1", park=refs[3:4], repeat=repeat),
        lambda both, repeat: both.release(both.in_flight[:1], repeat=repeat),
        lambda both, repeat: both.claim(refs, "t2", repeat=repeat),
        lambda both, repeat: both.settle(both.in_flight[-1:], ENDS[3], delay_ms=500, repeat=repeat),
        lambda both, _: both.pass_time(LEASE_MS),
        lambda both, _: both.sweep(),
        lambda both, repeat: both.claim(refs, "t3", repeat=repeat),
        lambda both, repeat: both.cancel((both.unfinished() or refs)[-1], repeat=repeat),
        lambda both, repeat: both.settle([f for f in both.in_flight if f[1] == "t3"], repeat=repeat),
        lambda both, repeat: both.settle([f for f in both.in_flight if f[1] == "t1"], repeat=repeat),
        lambda both, _: both.drain(),
    ]


@pytest.mark.parametrize("hook", ["plain", "again", "one", "two", "quick", "slow"])
def test_a_lost_reply_at_any_position_of_a_run_changes_nothing(valkey, hook):
    acts = a_run(hook)
    ends = []
    with valkey.client() as client:
        for lost in (None, *range(len(acts))):
            both = StoreAndModel(client, [hook])
            for position, act in enumerate(acts):
                act(both, position == lost)
            # Without the audit trail, to which a repeated act adds that it changed nothing.
            ends.append({key: value for key, value in both.ledger.everything().items() if b":audit:" not in key})
    assert all(end == ends[0] for end in ends)
