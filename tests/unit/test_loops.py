"""Loops that survive exceptions, and steps that are repeated until they succeed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from greenlet import GreenletExit

from relay.errors import NotFound, StoreFault, Unavailable
from relay.process import loops
from relay.process.loops import Failures, Loop, Over, repeat_until_done
from relay.telemetry import log
from tests.executor.server_faults import Unheard
from tests.timing import stop_clock


@pytest.fixture
def said(events_of):
    return events_of(log)


def in_turn(*steps):
    left = list(steps)

    def step():
        each = left.pop(0)
        if isinstance(each, BaseException):
            raise each
        return each

    return step


@pytest.mark.parametrize("error", [Unavailable(), StoreFault(), Unheard(), ZeroDivisionError()])
def test_a_loop_goes_on_after_whatever_an_iteration_raises(said, error):
    iterations, pauses = in_turn("well", error, error, "well", GreenletExit()), []
    with pytest.raises(GreenletExit):
        Loop("some", iterations, pauses.append).run()
    assert pauses == [loops.RETRY_S] * 2
    assert len(said) == 1


def test_a_failure_is_said_once_until_it_is_over(said):
    failures = Failures("some", calls=3)
    for _ in range(5):
        assert not failures.note(Unavailable())
    for _ in range(5):
        assert failures.note(Unheard())
    assert [name for name, _ in said] == ["store_away", "internal_error"]
    assert said[0][1] == {"level": 30, "doing": "some", "calls": 3}
    failures.succeeded()
    failures.note(Unavailable())
    assert [name for name, _ in said] == ["store_away", "internal_error", "store_away"]


def test_a_step_is_tried_while_the_store_is_away_however_long_that_is(said):
    pauses = []
    assert repeat_until_done(in_turn(*[Unavailable()] * 500, "done"), "some", pauses.append) == "done"
    assert len(pauses) == 500
    assert len(said) == 1


@pytest.mark.parametrize("error", [StoreFault(), Unheard()])
def test_a_step_with_a_fault_of_ours_is_tried_a_few_times(said, error):
    most = [error] * (loops.STEP_FAULTS - 1)
    assert repeat_until_done(in_turn(*most, "done"), "some", len_of) == "done"
    with pytest.raises(type(error)):
        repeat_until_done(in_turn(*most, error, "too late"), "some", len_of)
    assert len(said) == 2


def test_a_step_is_given_up_when_its_time_is_over(said, monkeypatch):
    pause, waited_s = stop_clock(monkeypatch), []

    def step():
        waited_s.append(loops.boot_time_s() - begun_s)
        raise Unavailable

    begun_s = loops.boot_time_s()
    with pytest.raises(Unavailable):
        repeat_until_done(step, "some", pause, until_s=begun_s + 2.0)
    assert waited_s == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])


def test_an_answer_of_the_relay_s_own_is_not_asked_for_again(said):
    with pytest.raises(NotFound):
        repeat_until_done(in_turn(NotFound(), "never"), "some", len_of)
    assert said == []


def len_of(_wait_s):
    """Do not wait."""


ENDING = """
from relay.process import loops
from relay.process.loops import Loop
def iterate():
    raise {error}
Loop("some", iterate, lambda _: None).run()
"""


@pytest.mark.parametrize("error", ["SystemExit(0)", "KeyboardInterrupt", "ZeroDivisionError"])
def test_a_process_whose_loop_cannot_go_on_ends_with_a_status_that_is_not_zero(error):
    ended = subprocess.run([sys.executable, "-c", ENDING.format(error=error)], timeout=60, check=False)
    assert ended.returncode == loops.BROKEN == 72  # other stops have 70 or 71


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt()])
def test_the_end_of_such_a_process_comes_at_once_and_is_said(said, monkeypatch, error):
    def end(status):
        raise GreenletExit(status)

    monkeypatch.setattr(loops.os, "_exit", end)
    pauses = []
    with pytest.raises(GreenletExit, match="72"):
        Loop("some", in_turn("well", error, "too late"), pauses.append).run()
    assert (pauses, [name for name, _ in said]) == ([], ["internal_error"])


def test_a_loop_is_given_up_after_so_many_faults_in_a_row_and_not_sooner(said, monkeypatch):
    def end(error, where):
        raise GreenletExit(where, error)

    monkeypatch.setattr(loops, "give_up", end)
    faults, pauses = [Unheard()] * loops.LOOP_FAULTS, []
    with pytest.raises(GreenletExit, match="some"):
        Loop("some", in_turn(*[Unavailable()] * 500, *faults, "too late"), pauses.append).run()
    assert len(pauses) == 500 + loops.LOOP_FAULTS - 1


def test_a_loop_that_goes_well_again_has_its_faults_forgiven(said, monkeypatch):
    monkeypatch.setattr(loops, "give_up", lambda *_: pytest.fail("ended"))
    few = [Unheard()] * (loops.LOOP_FAULTS - 1)
    with pytest.raises(GreenletExit):
        Loop("some", in_turn(*few, "well", *few, GreenletExit()), len_of).run()


def test_why_the_store_is_away_is_said_where_it_says_more_than_that(said):
    for error in (Unavailable(), Unavailable("The store is fenced.")):
        failures = Failures("some", calls=3)
        failures.note(error)
        assert failures.faults == 0
    assert [fields.get("why") for _, fields in said] == [None, "The store is fenced."]


def test_a_fault_is_said_again_after_a_success_and_counted_from_one(said):
    failures = Failures("some")
    for _ in range(2):
        for number in (1, 2, 3):
            assert failures.note(Unheard())
            assert failures.faults == number
        failures.succeeded()
        assert failures.faults == 0
    assert [name for name, _ in said] == ["internal_error"] * 2


def test_an_iteration_may_end_its_loop():
    Loop("some", in_turn("well", ZeroDivisionError(), Over(), "never"), len_of).run()
