"""All interleavings of two ids, two workers, an operator, a sweeper and time; and every call of a run repeated.

Each actor has its acts in order, and every order of all of them together is tried. Orders that lead to the same
store are followed once: what comes next can no more tell them apart than the scripts can.
"""

from __future__ import annotations

import pytest

from tests.contract.store_and_model import ENDS, LEASE_MS, StoreAndModel, reference_id

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
    """For each actor its acts, in order."""
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


def play(client, hook, programs, order):
    """A run of the actors in that order, an index of an actor for each act."""
    both = StoreAndModel(client, [hook])
    done = [0] * len(programs)
    for actor in order:
        programs[actor][done[actor]](both)
        done[actor] += 1
    return both, tuple(done)


def explore(client, hook, programs):
    """Plays all orders; returns how many stores they lead to, and how many of those are ends."""
    seen, frontier, ends = set(), [()], 0
    while frontier:
        order = frontier.pop()
        both, done = play(client, hook, programs, order)
        both.check()
        store = (done, repr(sorted(both.ledger.everything().items())), tuple(sorted(both.in_flight)))
        if store in seen:
            continue
        seen.add(store)
        following = [actor for actor, program in enumerate(programs) if done[actor] < len(program)]
        frontier.extend((*order, actor) for actor in following)
        if not following:
            ends += 1
            both.drain()
    return len(seen), ends


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("hook", "end"), [("plain", ENDS[0]), ("one", ENDS[3])])
def test_every_order_of_two_ids_and_two_workers_keeps_every_promise(valkey, hook, end):
    with valkey.client() as client:
        stores, ends = explore(client, hook, actors(hook, end))
    assert stores > 500
    assert ends > 10


def a_run(hook):
    """A run of everything that is called, some of it after a loss; each act takes whether its reply is lost."""
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
            # But for the audit trail, where a repeated act says that it changed nothing.
            ends.append({key: value for key, value in both.ledger.everything().items() if b":audit:" not in key})
    assert all(end == ends[0] for end in ends)
