"""A pool that reuses greenlets."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event
from gevent.hub import get_hub
from greenlet import getcurrent

from relay.executor.greenlet_pool import GreenletPool


@pytest.fixture
def seen():
    """The greenlet that handled each item, by item."""
    return {}


def test_items_are_worked_for_side_by_side(seen):
    go = Event()

    def work(item):
        go.wait()
        seen[item] = getcurrent()

    pool = GreenletPool(work)
    for item in range(5):
        pool.start(item)
    gevent.sleep(0)
    assert seen == {}
    go.set()
    gevent.sleep(0.01)
    assert set(seen) == set(range(5))
    assert len(set(seen.values())) == 5


def test_a_greenlet_that_has_ended_its_work_is_used_for_the_next(seen):
    pool = GreenletPool(lambda item: seen.setdefault(item, getcurrent()))
    for item in range(20):
        pool.start(item)
        gevent.sleep(0)
        gevent.sleep(0)
    assert set(seen) == set(range(20))
    assert len(set(seen.values())) == 1


def test_there_are_never_fewer_greenlets_than_items(seen):
    blocked = Event()
    pool = GreenletPool(lambda item: blocked.wait() if item == "slow" else seen.setdefault(item, getcurrent()))
    pool.start("first")
    gevent.sleep(0.01)
    pool.start("slow")
    pool.start("second")  # while the only greenlet so far is on its way to the slow one
    gevent.sleep(0.01)
    assert set(seen) == {"first", "second"}
    blocked.set()


def test_work_that_fails_takes_no_later_item_along(seen, monkeypatch):
    failed = []
    monkeypatch.setattr(get_hub(), "handle_error", lambda _context, kind, *_: failed.append(kind))

    def work(item):
        if item == "bad":
            raise ZeroDivisionError
        seen[item] = True

    pool = GreenletPool(work)
    for item in ("bad", "good"):
        pool.start(item)
        gevent.sleep(0.01)
    assert (failed, seen) == ([ZeroDivisionError], {"good": True})
