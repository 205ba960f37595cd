"""A freed place wakes only a call that a worker has room for."""

from __future__ import annotations

import pytest

from tests.contract.clocked import START_MS
from tests.contract.ledger import Ledger, ids
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


def test_a_process_looks_at_no_more_webhooks_than_it_wants(ledger):
    hooks = [f"hook{number}" for number in range(5)]
    for hook in hooks:
        ledger.client.hset(KEYS.webhooks("acme"), hook, 1)
    ledger.store.claim([], "t1", park=[ledger.accepted(webhook_id=hook) for hook in hooks])
    for limit in (3, 5, 9):
        found = ledger.store.parked_calls.webhooks(limit=limit)
        assert len(found) == len(set(found)) == min(limit, 5)
        assert set(found) <= {("acme", hook) for hook in hooks}


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


#: Limits, with the milliseconds after which they certainly allow another call.
LIMITS = {
    "a cap of one": ({"concurrency": 1}, 5_000),
    "a cap beyond what a worker holds": ({"concurrency": 100}, 5_000),
    "a rate": ({"rateCount": 1, "ratePeriod": 60_000}, 60_000),
    "a fast rate": ({"rateCount": 50, "ratePeriod": 1_000}, 5_000),
    "a cap and a rate": ({"concurrency": 1, "rateCount": 2, "ratePeriod": 1_000}, 5_000),
    "no limit": ({"concurrency": ""}, 5_000),
}
ORDERED = ["a cap of one", "a rate", "a cap and a rate"]
LANES_OF = {"bulk": ["bulk", "replay"], "interactive": ["interactive"]}


class Line:
    """A webhook with a call of the lane `interactive` that is being sent, and parked calls, the oldest first."""

    def __init__(self, ledger, clock, limits, lanes):
        self.ledger, self._clock, self._now_ms = ledger, clock, START_MS
        ledger.limit(**limits)
        self.running = ledger.accepted(lane="interactive")
        assert ledger.store.claim([self.running], "t1").granted == {self.running}
        self.parked = [ref for lane, count in lanes for ref in ledger.accepted_many(count, lane=lane)]
        for first in range(0, len(self.parked), 100):
            ledger.store.claim([], "t2", park=self.parked[first : first + 100])

    def wait(self, wait_ms):
        self._now_ms += wait_ms
        self._clock.set_ms(self._now_ms)

    def settle(self, ref, token):
        return ids(self.ledger.store.settle([self.ledger.settlement(ref, token, capacity=8)]).ready)

    def look(self, lane):
        return ids(self.ledger.store.parked_calls.wake(*HOOK, 8, LANES_OF[lane]))

    def sweep(self):
        return ids(self.ledger.store.sweep(limit=100))


@pytest.mark.parametrize("backlog", [1, 60, 400])
@pytest.mark.parametrize(("limits", "period_ms"), LIMITS.values(), ids=LIMITS)
def test_a_lane_that_claims_nothing_holds_up_no_call_of_another(clock, ledger, limits, period_ms, backlog):
    line = Line(ledger, clock, limits, [("bulk", backlog), ("interactive", 3)])
    mine = line.parked[backlog:]
    line.wait(period_ms)
    woken = line.settle(line.running, "t1") + line.sweep()
    line.wait(1_000)  # for the oldest to be claimed
    woken += line.look("interactive")
    for number, ref in enumerate(mine):
        assert ref in woken
        assert ledger.store.claim([ref], f"n{number}").granted == {ref}
        line.wait(period_ms)
        woken = line.settle(ref, f"n{number}") + line.sweep() + line.look("interactive")  # at once


@pytest.mark.parametrize("first", LANES_OF)
@pytest.mark.parametrize(("limits", "period_ms"), [LIMITS[name] for name in ORDERED], ids=ORDERED)
def test_calls_go_by_age_while_each_is_claimed_in_time(clock, ledger, limits, period_ms, first):
    lanes = [lane for _ in range(3) for lane in sorted(LANES_OF, key=first.__ne__)]
    line = Line(ledger, clock, limits, [(lane, 1) for lane in lanes])
    ref, token = line.running, "t1"
    for number, (oldest, lane, other) in enumerate(zip(line.parked, lanes, lanes[1:] + lanes[:1], strict=True)):
        line.wait(period_ms)
        woken = [] if ref is None else line.settle(ref, token)
        assert line.look(other) == []  # the oldest was woken, or is about to be
        assert oldest in woken + line.sweep() + line.look(lane)
        line.wait(900)
        assert line.look(other) == []
        ref, token = oldest, f"n{number}"
        assert ledger.store.claim([ref], token).granted == {ref}


def test_calls_that_their_lane_refuses_keep_no_more_than_one_permit_and_not_for_ever(clock, ledger):
    line = Line(ledger, clock, {"concurrency": 30}, [("bulk", 40), ("interactive", 9)])
    mine = line.parked[40:]
    assert line.look("interactive") == mine[:8]
    ledger.limit(concurrency=1)
    refused = line.settle(line.running, "t1")
    assert refused == line.parked[:1]
    assert ledger.store.claim([], "t3", park=refused).parked == set(refused)
    line.wait(1_000)
    assert line.look("interactive") == mine[:1]


@pytest.mark.parametrize("wait_ms", [999, 1_000])
def test_a_lane_that_has_not_claimed_what_was_woken_is_passed_over_as_a_whole(clock, ledger, wait_ms):
    line = Line(ledger, clock, {"concurrency": 1}, [("bulk", 3), ("interactive", 2)])
    oldest, *_, first, _ = line.parked
    assert line.settle(line.running, "t1") == [oldest]
    line.wait(wait_ms)
    ledger.client.zadd(KEYS.due_queued("interactive"), {first: 1})
    assert line.sweep() == ([oldest] if wait_ms < 1_000 else [first])  # who may still come is only named again


def test_who_is_about_to_claim_keeps_one_permit_and_leaves_the_others(clock, ledger):
    line = Line(ledger, clock, {"concurrency": 1}, [("bulk", 4), ("interactive", 3)])
    bulk, interactive = line.parked[:4], line.parked[4:]
    assert line.settle(line.running, "t1") == bulk[:1]
    ledger.limit(concurrency=3)
    assert line.look("interactive") == interactive[:2]
    ledger.ring(bulk[3])
    assert line.sweep() == bulk[:3]


@pytest.mark.parametrize("lanes", [(30, 3, 7), (10, 1, 60), (60, 3, 10), (0, 2, 60), (33, 3, 0), (60, 1, 0)])
def test_calls_of_a_lane_among_the_oldest_or_the_youngest_of_others_are_each_woken_once(clock, ledger, lanes):
    before, own, behind = lanes
    parked = [("bulk", before), ("interactive", own), ("bulk", behind)]
    line = Line(ledger, clock, {"concurrency": 100}, [(lane, count) for lane, count in parked if count])
    assert line.look("interactive") == line.parked[before : before + own]


def test_a_call_that_the_rate_is_about_to_wake_is_not_overtaken(clock, ledger):
    line = Line(ledger, clock, {"rateCount": 1, "ratePeriod": 60_000}, [("bulk", 1), ("interactive", 2)])
    line.wait(60_000)
    assert line.look("interactive") == []  # the next sweep wakes the oldest
    assert line.parked[0] in line.sweep()
    assert line.look("interactive") == []
    line.wait(1_000)
    assert line.look("interactive") == line.parked[1:2]


@pytest.mark.parametrize("lane", LANES_OF)
def test_what_a_look_costs_does_not_grow_with_the_backlog_of_other_lanes(valkey, lane):
    costs = []
    with valkey.client() as client:
        ledger = Ledger(client)
        ledger.limit(concurrency=5)
        ledger.claimed()
        for _ in range(2):
            ledger.store.claim([], ledger.token(), park=ledger.accepted_many(200, lane="bulk"))
            client.config_resetstat()
            ledger.store.parked_calls.wake(*HOOK, 8, LANES_OF[lane])
            costs.append(sum(each["calls"] for each in client.info("commandstats").values()))
    assert costs[1] <= costs[0] < 150
