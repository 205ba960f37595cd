"""The poller of kombu in a worker: it takes any descriptor, lets other greenlets run, and drops closed descriptors."""

from __future__ import annotations

import fcntl
import os
import socket
import time

import gevent
import pytest
from kombu.utils.eventio import ERR, READ, WRITE

from relay.process.descriptors import allow_calls
from workers import lane_poller
from workers.lane_poller import LanePoller, LaneWaits

FOR_EVER_S = 60  # longer than the test may take
HIGH = 1_024  # the first descriptor that select() does not accept


@pytest.fixture(params=["low", "high"])
def pair(request):
    """A connection, its first end with a low or a high descriptor."""
    allow_calls(HIGH)
    ours, theirs = socket.socketpair()
    if request.param == "high":
        moved = fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, HIGH)
        ours.close()
        ours = socket.socket(fileno=moved)
        assert ours.fileno() >= HIGH
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def waits(monkeypatch):
    """New lane waits, in place of the process's own."""
    waits = LaneWaits()
    monkeypatch.setattr(lane_poller, "LANE_WAITS", waits)
    return waits


@pytest.fixture
def poller(waits):
    poller = LanePoller()
    yield poller
    poller.close()


def test_what_can_be_read_is_told_at_once(poller, pair):
    ours, theirs = pair
    poller.register(ours, READ | ERR)
    assert poller.poll(0) == []
    theirs.send(b"x")
    assert poller.poll(0) == poller.poll(30) == poller.poll(None) == [(ours.fileno(), READ)]


@pytest.mark.parametrize("timeout_s", [0, FOR_EVER_S])
def test_others_run_though_there_is_always_something_to_read(poller, pair, timeout_s):
    ours, theirs = pair
    poller.register(ours, READ)
    theirs.send(b"x")
    other = gevent.spawn(list)
    assert poller.poll(timeout_s)
    assert other.dead


@pytest.mark.parametrize("timeout_s", [FOR_EVER_S, None])
def test_what_comes_later_is_waited_for_while_other_greenlets_run(poller, pair, timeout_s):
    ours, theirs = pair
    poller.register(ours, READ | ERR)
    gevent.spawn_later(0.05, theirs.send, b"x")
    assert poller.poll(timeout_s) == [(ours.fileno(), READ)]


def test_a_wait_ends_when_its_time_has_come(poller, pair):
    poller.register(pair[0], READ | ERR)
    began_s = time.monotonic()
    assert poller.poll(0.05) == []
    assert time.monotonic() - began_s >= 0.04


def test_each_is_told_what_it_was_asked_for(poller, pair):
    ours, theirs = pair
    poller.register(ours, READ)
    poller.register(theirs.fileno(), WRITE)
    assert poller.poll(0) == [(theirs.fileno(), WRITE)]


def test_an_end_of_the_other_side_is_told(poller, pair):
    ours, theirs = pair
    poller.register(ours, READ | ERR)
    theirs.close()
    ((fd, events),) = poller.poll(0)
    assert fd == ours.fileno()
    assert events & READ


def test_what_is_no_longer_registered_is_not_told(poller, pair):
    ours, theirs = pair
    poller.register(ours, READ)
    theirs.send(b"x")
    poller.unregister(ours)
    poller.unregister(ours)
    assert poller.poll(0) == []
    poller.register(ours, READ)
    poller.close()
    assert poller.poll(0) == []


def test_what_was_closed_is_forgotten(poller, pair):
    ours, theirs = pair
    poller.register(ours, READ)
    poller.register(theirs, READ)
    os.close(ours.detach())
    assert [fd for fd, _ in poller.poll(0)] == [theirs.fileno()]
    poller.unregister(theirs)
    assert poller.poll(0) == poller.poll(0.01) == []


def test_a_wait_ends_with_the_worker(poller, pair, waits):
    poller.register(pair[0], READ)
    gevent.spawn_later(0.05, waits.end)
    with pytest.raises(TimeoutError):
        poller.poll(FOR_EVER_S)


def test_whoever_no_longer_waits_is_left_alone_at_the_end(poller, pair, waits):
    ours, theirs = pair
    poller.register(ours, READ)
    gevent.spawn(theirs.send, b"x")
    assert poller.poll(FOR_EVER_S)
    waits.end()
    gevent.sleep(0.01)


def test_from_the_end_on_a_wait_takes_a_moment_in_which_others_run_and_what_is_there_is_told(poller, pair, waits):
    ours, theirs = pair
    poller.register(ours, READ)
    waits.end()
    other = gevent.spawn(theirs.send, b"x")
    with pytest.raises(TimeoutError):
        poller.poll(FOR_EVER_S)
    assert other.dead
    assert poller.poll(FOR_EVER_S) == [(ours.fileno(), READ)]
