"""Chains whose next steps are created together: how large a group is, and what becomes of each chain."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest

from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.errors import StoreFault, Unavailable
from relay.executor import advancing as advancing_module
from relay.executor.advancing import CALL_BYTES, Advancer
from relay.executor.chain_evaluation import Decided
from relay.executor.group_queue import FAULTS_ALONE, GROUP_BYTES, GROUP_ITEMS, PartitionQueues
from relay.process import loops
from relay.store.ledger.transitions import CallRecord, ChainEnd, Claimed, NewStep, NextStep, Settlement
from relay.telemetry.log import Event
from tests.timing import BUSY_S


class Groups:
    """A store that grants every decision, unless it fails as it is told."""

    def __init__(self):
        self.sizes = []
        self.errors = []
        self.more = {}

    def advance(self, decisions):
        self.sizes.append(len(decisions))
        if self.errors:
            raise self.errors.pop(0)
        refs = [each.reference_id for each in decisions]
        return Claimed(1, **{"granted": frozenset(refs), "parked": frozenset(), "ready": ready_of(refs)} | self.more)


def ready_of(refs):
    return tuple((ref, "bulk") for ref in refs)


@pytest.fixture
def groups(monkeypatch):
    monkeypatch.setattr(loops, "RETRY_S", 0.0)
    return Groups()


class Seen:
    """What an advancer tells the scheduler and the watch."""

    def __init__(self):
        self.ready, self.found, self.released, self.ended = [], [], [], []

    def run_or_publish(self, ready, found):
        self.ready += ready
        self.found += found

    def release(self, refs):
        self.released += refs

    def watch(self):
        return SimpleNamespace(
            ended=lambda record, *end: self.ended.append((record.reference_id, *end)),
            chain_ended=lambda record, settlement: self.ended.append((record.reference_id, settlement)),
        )


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def advancer(groups, seen):
    advancer = Advancer(groups, seen, seen.watch())
    yield advancer
    advancer._greenlet.kill()


def record_of(ref):
    return CallRecord(ref, State.QUEUED, "acme", "chain", 1, 1, b"", None, 1_000, "bulk", pins="{}")


def advancing(calls=1, payload_bytes=0, secrets_bytes=0):
    news = [NewStep(new_reference_id(), "hook", 1, 1_000, False, bytes(payload_bytes), 1) for _ in range(calls)]
    ref = new_reference_id()
    return Decided(record_of(ref), NextStep(ref, "token", 0, 0, news, bytes(secrets_bytes)))


def ending(result_bytes=0, raw_bytes=0):
    ref = new_reference_id()
    end = Settlement(ref, "token", State.DELIVERED, Outcome.ANSWERED, 200, False, None)
    return Decided(record_of(ref), ChainEnd(0, end._replace(result=bytes(result_bytes), raw=bytes(raw_bytes))))


def put_all(advancer, asked):
    for each in asked:
        advancer.put(each)
    assert advancer.flush(BUSY_S)


def test_every_chain_of_a_group_is_done_and_let_go_and_what_may_run_is_told_once(advancer, groups, seen):
    asked = [advancing(), ending(), advancing()]
    refs = [each.record.reference_id for each in asked]
    found = record_of(new_reference_id())
    groups.more = {"found": (found,)}
    put_all(advancer, asked)
    assert all(each.done.is_set() for each in asked)
    assert groups.sizes == [len(asked)]
    assert (seen.released, seen.ready, seen.found) == (refs, list(ready_of(refs)), [found])


def test_chains_that_have_ended_are_shown_and_logged_as_they_ended(advancer, groups, seen, events_of):
    said = events_of(advancing_module)
    goes_on, too_late, ends, not_any_more = advancing(), advancing(), ending(), ending()
    groups.more = {
        "granted": frozenset(each.record.reference_id for each in (goes_on, ends)),
        "ended": {too_late.record.reference_id: (State.UNREACHABLE, "chain_timeout")},
        "ready": (),
    }
    put_all(advancer, [goes_on, too_late, ends, not_any_more])
    ref = ends.record.reference_id
    assert seen.ended == [
        (too_late.record.reference_id, State.UNREACHABLE, "chain_timeout"),
        (ref, ends.decision.settlement),
    ]
    assert said == [(Event.CALLS_SETTLED, {"calls": [[ref, Outcome.ANSWERED, 200, 0]]})]


MOST_CALLS = GROUP_BYTES // CALL_BYTES


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [
        ([{}] * GROUP_ITEMS, [GROUP_ITEMS]),
        ([{}] * (GROUP_ITEMS + 1), [GROUP_ITEMS, 1]),
        ([{"calls": MOST_CALLS - 1}, {}], [2]),
        ([{"calls": MOST_CALLS}, {}], [1, 1]),
        ([{"calls": 1_000}, {}], [1, 1]),
        ([{"result_bytes": GROUP_BYTES - 1}, {"raw_bytes": 1}], [2]),
        ([{"result_bytes": GROUP_BYTES}, {"raw_bytes": 1}], [1, 1]),
        ([{"calls": 2, "payload_bytes": GROUP_BYTES // 2 - CALL_BYTES}, {"calls": 0}], [2]),
        ([{"calls": 2, "payload_bytes": GROUP_BYTES // 2 - CALL_BYTES}, {"calls": 0, "secrets_bytes": 1}], [1, 1]),
    ],
)
def test_a_group_has_so_many_chains_calls_and_bytes_and_no_more(advancer, groups, asked, sizes):
    put_all(
        advancer,
        [ending(**each) if each.keys() & {"result_bytes", "raw_bytes"} else advancing(**each) for each in asked],
    )
    assert groups.sizes == sizes


@pytest.mark.parametrize("errors", [[Unavailable()] * 50, [StoreFault()] * (FAULTS_ALONE - 1)])
def test_what_fails_is_repeated_and_then_done(advancer, groups, seen, errors):
    groups.errors = list(errors)
    one = advancing()
    put_all(advancer, [one])
    assert one.done.is_set()
    assert seen.ready == [(one.record.reference_id, "bulk")]


def test_a_chain_for_which_the_relay_fails_each_time_is_let_go_and_costs_no_other_chain_its_step(
    advancer, groups, seen
):
    broken, other = advancing(), advancing()
    advance = groups.advance

    def failing(decisions):
        if any(each is broken.decision for each in decisions):
            raise StoreFault
        return advance(decisions)

    groups.advance = failing
    put_all(advancer, [broken, other])
    assert broken.done.is_set()
    assert other.done.is_set()
    assert seen.ready == [(other.record.reference_id, "bulk")]
    assert sorted(seen.released) == sorted([broken.record.reference_id, other.record.reference_id])


def test_no_chain_is_waited_for_for_ever_when_the_reply_of_its_group_cannot_be_handled(advancer, seen):
    def no_room(*_):
        raise RuntimeError

    seen.run_or_publish = no_room
    asked = [advancing(), advancing()]
    put_all(advancer, asked)
    assert all(each.done.is_set() for each in asked)


def test_the_queues_of_all_partitions_move_as_one_part():
    store, moves = SimpleNamespace(keys=SimpleNamespace(partition_of_ref=["first", "second"].index)), iter((1, 20))
    queues = PartitionQueues(store, lambda: SimpleNamespace(moves=next(moves), put=lambda _: None))
    assert queues.moves == 1
    queues.put("second", advancing())
    assert queues.moves == 21


def test_a_flush_waits_for_a_partition_that_gets_its_first_item_meanwhile(groups, seen):
    first, later = advancing(), [advancing()]

    def advance(decisions):
        gevent.sleep(0.01)  # so that the flush waits
        if later:
            queues.put("second", later.pop())
        return groups.advance(decisions)

    keys = SimpleNamespace(partition_of_ref=["first", "second"].index)
    store = SimpleNamespace(keys=keys, advance=advance)
    made = []

    def make():
        made.append(Advancer(store, seen, seen.watch()))
        return made[-1]

    queues = PartitionQueues(store, make)
    try:
        queues.put("first", first)
        assert queues.flush(BUSY_S)
        assert (groups.sizes, len(made)) == ([1, 1], 2)
        made[0]._idle.clear()
        assert queues.flush(0.01) is False  # although the last partition has nothing left
    finally:
        gevent.killall([each._greenlet for each in made])
