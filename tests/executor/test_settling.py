"""Which settlements are grouped, at each limit of a group, and which are given up."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.errors import StoreFault, Unavailable
from relay.executor import group_queue, settling
from relay.executor.group_queue import FAILURES_TOGETHER, FAULTS_ALONE, GROUP_BYTES, GROUP_ITEMS
from relay.executor.settling import Settler
from relay.process import loops
from relay.queue import GROUP_IDS
from relay.store.ledger.transitions import Settled, Settlement
from relay.telemetry import log
from relay.telemetry.log import Event as LogEvent
from tests.timing import BUSY_S, wait_until


class Groups:
    """A store that accepts each group only when the test allows it, and fails with the given errors, in order."""

    def __init__(self):
        self.taken: list[list[str]] = []
        self.errors: list[Exception] = []
        self.may = Event()
        self.may.set()

    def settle(self, settlements):
        self.may.wait()
        self.taken.append([each.reference_id for each in settlements])
        if self.errors:
            raise self.errors.pop(0)
        return Settled((True,) * len(settlements), ())


@pytest.fixture
def groups(monkeypatch):
    monkeypatch.setattr(loops, "RETRY_S", 0.0)
    return Groups()


@pytest.fixture
def ended():
    return []


@pytest.fixture
def settler(groups, ended):
    counted = []
    active_calls = SimpleNamespace(
        with_capacity=lambda group: group,
        settled=lambda settlement: counted.append(settlement.reference_id),
        end=lambda refs: ended.extend((ref, ref in counted) for ref in refs),
    )
    scheduler = SimpleNamespace(run_or_publish=lambda *_: None, release=lambda _refs: None)
    settler = Settler(groups, active_calls, scheduler, None)
    yield settler
    settler._greenlet.kill()


def settlement(size_bytes=0, raw_bytes=0):
    return Settlement(
        new_reference_id(),
        "token",
        State.DELIVERED,
        Outcome.ANSWERED,
        200,
        False,
        None,
        result=bytes(size_bytes),
        raw=bytes(raw_bytes),
    )


def settled_in_groups(settler, groups, settlements):
    """Return the sizes of the groups, if all settlements have arrived before the first group is settled."""
    for each in settlements:
        settler.put(each)
    assert settler.flush(10)
    return [len(group) for group in groups.taken]


@pytest.mark.parametrize(("count", "expected"), [(GROUP_ITEMS, [GROUP_ITEMS]), (GROUP_ITEMS + 1, [GROUP_ITEMS, 1])])
def test_a_group_has_so_many_items_and_no_more(settler, groups, count, expected):
    assert settled_in_groups(settler, groups, [settlement() for _ in range(count)]) == expected


class Clock:
    """The time of a thread that waits for so many milliseconds while a group is committed, and works in others."""

    def __init__(self, groups, *, waits_ms=0, works_ms=0):
        self._groups, self._waits_s, self._works_s = groups, waits_ms / 1000, works_ms / 1000

    def monotonic(self):
        return len(self._groups.taken) * (self._waits_s + self._works_s)

    def thread_time(self):
        return len(self._groups.taken) * self._works_s


@pytest.mark.parametrize(
    ("waits_ms", "expected"),
    [
        (0, [GROUP_ITEMS] * 12),
        (4, [GROUP_ITEMS] * 12),
        (5, [24, 30, 30, 30, 30, 30, 30, 30, 30, 24]),
        (20, [24, 120, 120, 24]),
        (1_000, [24, GROUP_IDS, GROUP_IDS, 8]),
    ],
)
def test_the_longer_the_server_took_for_a_group_the_more_the_next_one_has(
    settler, groups, monkeypatch, waits_ms, expected
):
    monkeypatch.setattr(group_queue, "time", Clock(groups, waits_ms=waits_ms, works_ms=50))
    assert settled_in_groups(settler, groups, [settlement() for _ in range(288)]) == expected


@pytest.mark.parametrize(("over", "expected"), [(0, [2]), (1, [1, 1])])
@pytest.mark.parametrize("kind", ["result", "raw"])
def test_a_group_has_so_many_bytes_and_no_more(settler, groups, over, expected, kind):
    half = GROUP_BYTES // 2
    second = settlement(half + over) if kind == "result" else settlement(0, half + over)
    assert settled_in_groups(settler, groups, [settlement(half), second]) == expected


@pytest.mark.parametrize(("over", "expected"), [(0, [2]), (1, [1, 1])])
def test_result_and_raw_answer_count_together(settler, groups, over, expected):
    third = GROUP_BYTES // 3
    second = settlement(third, GROUP_BYTES - 2 * third + over)
    assert settled_in_groups(settler, groups, [settlement(third), second]) == expected


def test_the_bytes_of_all_that_are_in_a_group_count(settler, groups):
    half = GROUP_BYTES // 2
    assert settled_in_groups(settler, groups, [settlement(half), settlement(half), settlement(1)]) == [2, 1]


def test_one_that_is_larger_than_a_group_may_be_goes_alone(settler, groups):
    large = settlement(2 * GROUP_BYTES)
    assert settled_in_groups(settler, groups, [settlement(), large, settlement()]) == [1, 1, 1]


def test_a_group_is_said_in_one_line_and_each_late_answer_in_its_own(settler, groups, monkeypatch, events_of):
    said = events_of(settling)
    monkeypatch.setattr(
        groups, "settle", lambda each: Settled(tuple(settled.attempt is not None for settled in each), ())
    )
    attempt = Attempt(1, 1_000, 5, 404, Outcome.ANSWERED, Sent.ANSWERED)
    tried, never_tried = settlement()._replace(attempt=attempt, status=404), settlement()
    settled_in_groups(settler, groups, [tried, never_tried])
    assert said == [
        (LogEvent.LATE_ANSWER, {"level": logging.WARNING, "ref": never_tried.reference_id}),
        (
            LogEvent.CALLS_SETTLED,
            {
                "calls": [
                    [tried.reference_id, Outcome.ANSWERED, 404, 5],
                    [never_tried.reference_id, Outcome.ANSWERED, 200, 0],
                ]
            },
        ),
    ]


def test_what_has_failed_together_too_often_goes_alone(settler, groups):
    groups.errors = [Unavailable()] * FAILURES_TOGETHER
    assert settled_in_groups(settler, groups, [settlement(), settlement()]) == [2] * FAILURES_TOGETHER + [1, 1]


def test_what_fails_for_a_fault_of_ours_goes_alone_at_once(settler, groups):
    groups.errors = [StoreFault()]
    assert settled_in_groups(settler, groups, [settlement(), settlement()]) == [2, 1, 1]


@pytest.mark.parametrize(("faults", "counts"), [(FAULTS_ALONE - 1, True), (FAULTS_ALONE, False)])
def test_what_fails_alone_so_often_for_a_fault_of_ours_is_given_up_and_that_is_logged(
    settler, groups, ended, events_of, faults, counts
):
    one, said = settlement(), events_of(log)
    groups.errors = [StoreFault()] * faults
    settled_in_groups(settler, groups, [one])
    assert ended == [(one.reference_id, counts)]
    assert [fields["where"] for _, fields in said] == ["settle", *["settle: given up"] * (not counts)]


def test_only_faults_of_what_was_tried_alone_count_against_it(settler, groups, ended):
    both = [settlement(), settlement()]
    groups.errors = [StoreFault()] * (1 + 2 * (FAULTS_ALONE - 1))
    settled_in_groups(settler, groups, both)
    assert sorted(ended) == sorted((each.reference_id, True) for each in both)


def test_what_goes_alone_does_so_behind_another_and_whatever_fails_next(settler, groups):
    groups.may.clear()
    groups.errors = [StoreFault()]
    settler.put(settlement())
    gevent.sleep(0.01)
    settler.put(settlement())
    groups.may.set()
    assert settler.flush(10)
    assert [len(group) for group in groups.taken] == [1, 1, 1]
    groups.taken.clear()
    groups.errors = [StoreFault(), *[Unavailable()] * 3]
    assert settled_in_groups(settler, groups, [settlement() for _ in range(3)]) == [3, *[1] * 6]


def test_after_a_failure_only_what_is_new_is_tried_at_once(settler, groups, monkeypatch):
    monkeypatch.setattr(loops, "RETRY_S", 60.0)
    groups.may.clear()
    groups.errors = [Unavailable(), Unavailable()]
    settler.put(settlement())
    gevent.sleep(0.01)
    settler.put(settlement())
    groups.may.set()
    wait_until(lambda: len(groups.taken) == 2, BUSY_S, sleep=gevent.sleep)  # and both have failed now
    gevent.sleep(0.01)
    settler.put(settlement())
    assert settler.flush(10)
    assert [len(group) for group in groups.taken] == [1, 2, 3]


def test_when_the_reply_of_a_group_cannot_be_handled_each_of_the_group_is_told(settler, ended, monkeypatch):
    tried, both = [], [settlement(), settlement()]
    end = settler._active_calls.end

    def failing_at_first(refs):
        tried.append(refs)
        if len(tried) == 1:
            raise RuntimeError
        end(refs)

    monkeypatch.setattr(settler._active_calls, "end", failing_at_first)
    monkeypatch.setattr(settler._active_calls, "settled", lambda _: None)
    for each in both:
        settler.put(each)
    assert settler.flush(10)
    assert ended == [(each.reference_id, False) for each in both]


def test_a_reply_that_cannot_be_handled_is_logged(settler, groups, monkeypatch, events_of):
    said = events_of(log)
    monkeypatch.setattr(groups, "settle", lambda _: None)
    settled_in_groups(settler, groups, [settlement()])
    assert [(fields["where"], fields["kind"]) for _, fields in said] == [("settle", "AttributeError")]


def test_what_cannot_even_be_given_up_is_logged_and_costs_no_other_its_end(settler, ended, monkeypatch, events_of):
    broken, other, said = settlement(), settlement(), events_of(log)
    end = settler._active_calls.end

    def failing(refs):
        if broken.reference_id in refs:
            raise RuntimeError
        end(refs)

    monkeypatch.setattr(settler._active_calls, "end", failing)
    monkeypatch.setattr(settler._active_calls, "settled", lambda _: None)
    for each in (broken, other):
        settler.put(each)
    assert settler.flush(10)
    assert ended == [(other.reference_id, False)]
    assert [fields["where"] for _, fields in said] == ["settle: give up", "settle"]


def test_a_server_that_is_away_makes_nothing_be_given_up(settler, groups, ended):
    one = settlement()
    groups.errors = [Unavailable()] * 200
    settled_in_groups(settler, groups, [one])
    assert ended == [(one.reference_id, True)]
    assert len(groups.taken) == 201


def test_what_arrives_while_one_is_settled_goes_together_with_the_next(settler, groups):
    groups.may.clear()
    settler.put(settlement())
    gevent.sleep(0.01)
    for _ in range(3):
        settler.put(settlement())
    groups.may.set()
    assert settler.flush(10)
    assert [len(group) for group in groups.taken] == [1, 3]


def test_a_flush_says_when_its_time_is_over(settler, groups):
    groups.may.clear()
    settler.put(settlement())
    assert settler.flush(0.01) is False
    groups.may.set()
    assert settler.flush(10) is True


def test_a_settler_moves_with_each_group_and_also_while_there_is_nothing_to_do(settler, groups, monkeypatch):
    settled_in_groups(settler, groups, [settlement()])
    after_one = settler.moves
    assert after_one > 0
    monkeypatch.setattr(group_queue, "IDLE_S", 0.001)
    settled_in_groups(settler, groups, [settlement()])
    gevent.sleep(0.1)
    assert settler.moves > after_one + 2


def test_no_group_waits_for_more_calls_to_end(settler, groups, monkeypatch):
    slept_s = []
    monkeypatch.setattr(group_queue.gevent, "sleep", slept_s.append)
    for count in (1, 3, 2, GROUP_ITEMS, 1):
        settled_in_groups(settler, groups, [settlement() for _ in range(count)])
    assert slept_s == []


def test_a_full_group_of_results_of_40_kb_goes_together(settler, groups):
    assert settled_in_groups(settler, groups, [settlement(40_000) for _ in range(GROUP_ITEMS)]) == [GROUP_ITEMS]
