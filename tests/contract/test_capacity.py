"""A freed place wakes only a call that a worker has room for."""

from __future__ import annotations

import pytest

from tests.contract.ledger import ids
from tests.store_keys import KEYS

HOOK = ("acme", "hook")


def make_idle(ledger, refs):
    """Make these calls look as if they had become ready long ago."""
    for ref in refs:
        ledger.client.hset(KEYS.record(ref), "readyAt", 1)


@pytest.fixture
def parked(ledger):
    """Two calls being sent, of a webhook that may send twenty, and six parked ones that wait for room in a worker."""
    ledger.limit(concurrency=20)
    refs = ledger.accepted_many(8)
    claimed = ledger.store.claim(refs[:2], "t1", park=refs[2:])
    assert (claimed.parked, claimed.ready) == (set(refs[2:]), ())  # a worker without room wakes no call
    make_idle(ledger, refs)
    return refs


@pytest.mark.parametrize("capacity", [0, 1, 4])
def test_who_settles_is_given_what_it_has_room_for_whatever_the_cap_allows(ledger, parked, capacity):
    settled = ledger.store.settle([ledger.settlement(parked[0], "t1", capacity=capacity)])
    assert ids(settled.ready) == parked[2 : 2 + capacity]


def test_a_repeated_settle_says_again_whom_there_is_room_for(ledger, parked):
    settlement = ledger.settlement(parked[0], "t1", capacity=3)
    assert ledger.store.settle([settlement]) == ledger.store.settle([settlement])


def test_of_a_webhook_that_is_full_a_place_goes_to_the_oldest_whatever_its_lane(ledger):
    ledger.limit(concurrency=1)
    mine, other, later = (ledger.accepted_many(1, lane=lane)[0] for lane in ("interactive", "bulk", "interactive"))
    ledger.store.claim([mine], "t1", park=[other, later])
    assert ids(ledger.store.settle([ledger.settlement(mine, "t1", capacity=8)]).ready) == [other]


def test_of_other_lanes_nobody_is_woken_while_the_webhook_has_places(ledger):
    ledger.limit(concurrency=9)
    mine, other, later = (ledger.accepted_many(1, lane=lane)[0] for lane in ("interactive", "bulk", "interactive"))
    ledger.store.claim([mine], "t1", park=[other, later])
    assert ids(ledger.store.settle([ledger.settlement(mine, "t1", capacity=8)]).ready) == [later]


def test_a_process_with_room_finds_parked_calls_whoever_parked_them(ledger, parked):
    assert ledger.store.parked_calls.webhooks(limit=5) == [HOOK]
    assert ids(ledger.store.parked_calls.wake(*HOOK, 4, ["bulk"])) == parked[2:6]
    assert ledger.store.parked_calls.wake(*HOOK, 4, ["bulk"]) == ()  # they are on their way already
    assert ids(ledger.store.parked_calls.wake(*HOOK, 5, ["bulk"])) == parked[6:7]


def test_no_more_are_woken_than_the_webhook_may_send(ledger, parked):
    ledger.limit(concurrency=5)
    assert ids(ledger.store.parked_calls.wake(*HOOK, 100, ["bulk"])) == parked[2:5]
    ledger.limit(paused="1")
    make_idle(ledger, parked)
    assert ledger.store.parked_calls.wake(*HOOK, 100, ["bulk"]) == ()


def test_a_process_is_given_calls_of_its_own_lanes(ledger, parked):
    assert ledger.store.parked_calls.wake(*HOOK, 100, ["interactive", "replay"]) == ()


def test_a_webhook_is_looked_at_until_none_of_its_calls_is_parked(ledger, parked):
    woken = ids(ledger.store.parked_calls.wake(*HOOK, 100, ["bulk"]))
    assert ledger.store.claim(woken, "t2").granted == set(parked[2:])
    assert ledger.store.parked_calls.wake(*HOOK, 100, ["bulk"]) == ()
    assert ledger.store.parked_calls.webhooks(limit=5) == []


def test_who_is_woken_and_not_run_is_looked_at_after_the_grace(ledger, parked):
    ledger.store.parked_calls.wake(*HOOK, 1, ["bulk"])
    ledger.ring(parked[2])
    assert parked[2] in ids(ledger.store.sweep(limit=10))
