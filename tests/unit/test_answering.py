"""A silent server is asked by one at a time, and by everybody again as soon as it has answered."""

from __future__ import annotations

import pytest

from relay.store import answering as module
from relay.store.answering import PATIENCE_S, Answers, NotAskedError


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved on by hand."""
    now_s = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])

    def move_on(seconds):
        now_s[0] += seconds

    return move_on


@pytest.fixture
def answering():
    return Answers()


def test_many_ask_a_server_that_takes_its_time(clock, answering):
    answering.ask("a")
    clock(PATIENCE_S)
    answering.ask("b")


def test_nobody_else_asks_while_somebody_waits_for_too_long(clock, answering):
    answering.ask("a")
    clock(PATIENCE_S + 0.1)
    with pytest.raises(NotAskedError):
        answering.ask("b")
    answering.answered("a")
    answering.ask("b")


def test_after_one_has_waited_in_vain_one_asks_at_a_time(clock, answering):
    answering.ask("a")
    answering.gave_up("a")
    answering.ask("b")
    with pytest.raises(NotAskedError):
        answering.ask("c")
    answering.gave_up("b")
    answering.ask("c")
    answering.answered("c")
    answering.ask("a")
    answering.ask("b")


def test_an_answer_to_anybody_shows_that_the_server_is_well(clock, answering):
    answering.ask("a")
    answering.ask("b")
    answering.gave_up("a")
    answering.answered("b")
    answering.ask("c")
    answering.ask("d")


def test_who_closes_a_connection_without_a_question_says_nothing_of_the_server(clock, answering):
    answering.gave_up("a")
    answering.ask("b")
    answering.ask("c")
