"""Chains whose next steps are created together: how large a group is, and that each chain gets what became of it."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest

from relay.domain.reference_id import new_reference_id
from relay.errors import StoreFault, Unavailable
from relay.executor.advancing import CALL_BYTES, Advancer, Advancing
from relay.executor.group_queue import FAULTS_ALONE, GROUP_BYTES, GROUP_ITEMS, PartitionQueues
from relay.process import loops
from relay.store.ledger.transitions import Advance, Advanced, NewStep, NextStep
from tests.timing import BUSY_S

VERDICTS = list(Advance)


class Groups:
    """A store that answers each parent with the verdict that its step's number stands for, or fails as it is told."""

    def __init__(self):
        self.sizes = []
        self.errors = []

    def advance(self, steps):
        self.sizes.append(len(steps))
        if self.errors:
            raise self.errors.pop(0)
        return Advanced(tuple(VERDICTS[each.step] for each in steps), tuple((each.parent, "bulk") for each in steps))


@pytest.fixture
def groups(monkeypatch):
    monkeypatch.setattr(loops, "RETRY_S", 0.0)
    return Groups()


@pytest.fixture
def ready():
    return []


@pytest.fixture
def advancer(groups, ready):
    advancer = Advancer(groups, SimpleNamespace(run_or_publish=lambda found_ready, _found: ready.extend(found_ready)))
    yield advancer
    advancer._greenlet.kill()


def advancing(number=0, calls=1, payload_bytes=0, secrets_bytes=0):
    news = [NewStep(new_reference_id(), "hook", 1, 1_000, False, bytes(payload_bytes), 1) for _ in range(calls)]
    return Advancing(NextStep(new_reference_id(), "token", number, news, bytes(secrets_bytes)))


def put_all(advancer, asked):
    for each in asked:
        advancer.put(each)
    assert advancer.flush(BUSY_S)


def test_each_chain_gets_its_verdict_and_the_calls_that_may_run_are_told_once(advancer, groups, ready):
    asked = [advancing(number) for number in range(len(VERDICTS))]
    put_all(advancer, asked)
    assert [each.verdict.get(timeout=BUSY_S) for each in asked] == VERDICTS
    assert groups.sizes == [len(asked)]
    assert ready == [(each.step.parent, "bulk") for each in asked]


@pytest.mark.parametrize(("count", "busy"), [(1, False), (2, True)])
def test_only_after_a_group_of_several_more_are_waited_for(advancer, count, busy):
    put_all(advancer, [advancing() for _ in range(count)])
    assert advancer._busy is busy


MOST_CALLS = GROUP_BYTES // CALL_BYTES


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [
        ([{}] * GROUP_ITEMS, [GROUP_ITEMS]),
        ([{}] * (GROUP_ITEMS + 1), [GROUP_ITEMS, 1]),
        ([{"calls": MOST_CALLS - 1}, {}], [2]),
        ([{"calls": MOST_CALLS}, {}], [1, 1]),
        ([{"calls": 1_000}, {}], [1, 1]),
        ([{"calls": 0}, {"calls": 0}], [2]),
        ([{"calls": 2, "payload_bytes": GROUP_BYTES // 2 - CALL_BYTES}, {"calls": 0}], [2]),
        ([{"calls": 2, "payload_bytes": GROUP_BYTES // 2 - CALL_BYTES}, {"calls": 0, "secrets_bytes": 1}], [1, 1]),
    ],
)
def test_a_group_has_so_many_chains_calls_and_bytes_and_no_more(advancer, groups, asked, sizes):
    put_all(advancer, [advancing(**each) for each in asked])
    assert groups.sizes == sizes


@pytest.mark.parametrize("errors", [[Unavailable()] * 50, [StoreFault()] * (FAULTS_ALONE - 1)])
def test_what_fails_is_repeated_and_then_answered(advancer, groups, errors):
    groups.errors = list(errors)
    one = advancing(1)
    put_all(advancer, [one])
    assert one.verdict.get(timeout=BUSY_S) is VERDICTS[1]


def test_a_chain_for_which_the_relay_fails_each_time_is_told_and_costs_no_other_chain_its_step(advancer, groups):
    broken, other = advancing(0), advancing(1)
    advance = groups.advance

    def failing(steps):
        if any(each is broken.step for each in steps):
            raise StoreFault
        return advance(steps)

    groups.advance = failing
    put_all(advancer, [broken, other])
    assert other.verdict.get(timeout=BUSY_S) is VERDICTS[1]
    with pytest.raises(StoreFault):
        broken.verdict.get(timeout=BUSY_S)


@pytest.mark.parametrize("handled", [0, 1, 2])
def test_no_chain_waits_for_ever_when_the_reply_of_its_group_cannot_be_handled(advancer, groups, handled):
    def no_room(*_):
        raise RuntimeError

    advancer._on_ready = no_room
    groups.advance = lambda steps: Advanced((Advance.ADVANCED,) * handled, ((steps[0].parent, "bulk"),))
    asked = [advancing(), advancing()]
    put_all(advancer, asked)
    assert all(each.verdict.ready() for each in asked)
    assert [each.verdict.successful() for each in asked] == [True] * handled + [False] * (2 - handled)


def test_the_queues_of_all_partitions_move_as_one_part():
    store, moves = SimpleNamespace(keys=SimpleNamespace(partition_of_ref=["first", "second"].index)), iter((1, 20))
    queues = PartitionQueues(store, lambda: SimpleNamespace(moves=next(moves), put=lambda _: None))
    assert queues.moves == 1
    queues.put("second", advancing())
    assert queues.moves == 21


def test_a_flush_waits_for_a_partition_that_gets_its_first_item_meanwhile(groups):
    first, later = advancing(), [advancing()]

    def advance(steps):
        gevent.sleep(0.01)  # so that the flush waits
        if later:
            queues.put("second", later.pop())
        return groups.advance(steps)

    keys = SimpleNamespace(partition_of_ref=["first", "second"].index)
    store = SimpleNamespace(keys=keys, advance=advance)
    made = []

    def make():
        made.append(Advancer(store, SimpleNamespace(run_or_publish=lambda _ready, _found: None)))
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
