"""The gate lets exactly one request through, and none when it is shut or late."""

import threading

import pytest

from relay.outbound.gate import Gate
from relay.process.clock import boot_time_s
from tests.timing import stop_clock


@pytest.fixture
def gate():
    return Gate(boot_time_s() + 60)


def test_a_gate_lets_exactly_one_request_through(gate):
    assert not gate.entered
    assert [gate.enter(), gate.enter(), gate.enter()] == [True, False, False]
    assert gate.entered


def test_a_gate_that_was_shut_in_time_never_opens(gate):
    assert gate.shut()
    assert not gate.enter()
    assert not gate.entered


def test_shutting_a_gate_twice_says_the_same_thing_twice(gate):
    assert gate.shut()
    assert gate.shut()


def test_a_gate_cannot_be_shut_behind_a_request(gate):
    gate.enter()
    assert not gate.shut()
    assert gate.entered


@pytest.mark.parametrize("after_s", [0.0, 0.001])
def test_a_gate_stays_closed_from_its_deadline_on(monkeypatch, after_s):
    move_on, gate = stop_clock(monkeypatch), Gate(boot_time_s() + 1)
    assert not gate.expired
    move_on(1 + after_s)
    assert gate.expired
    assert not gate.enter()
    assert not gate.entered
    assert gate.shut()


def test_of_many_threads_at_a_gate_one_wins_and_all_agree():
    for _ in range(50):
        gate = Gate(boot_time_s() + 60)
        start = threading.Barrier(8)
        entered, shut = [], []

        def rush(index, gate=gate, start=start, entered=entered, shut=shut):
            start.wait()
            (entered if index % 2 else shut).append(gate.enter() if index % 2 else gate.shut())

        threads = [threading.Thread(target=rush, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(entered) == (1 if gate.entered else 0)
        assert shut == [not gate.entered] * 4
