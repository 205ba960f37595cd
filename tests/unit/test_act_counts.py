"""How requests are counted for the audit trail, while the store takes the counts and while it does not."""

from __future__ import annotations

import itertools
import threading
import time
from types import SimpleNamespace

import pytest
from falcon.testing import create_environ

from api import request_audit
from api.door import ApiRequest
from api.request_audit import ActCounts
from relay.audit.entry import Act
from tests.timing import BUSY_S

KEY = SimpleNamespace(id="k1", plugin="acme")


def a_request(key=KEY, code=None, refused_items=None):
    request = ApiRequest(create_environ(path="/v1/stats"))
    request.context.key, request.context.code = key, code
    request.context.refused_items = refused_items or {}
    return request


class Trail:
    """Takes entries, or not, as the test says; meanwhile ``comes`` is done, as other threads do it."""

    def __init__(self):
        self.taken, self.takes, self.comes = [], True, lambda: None

    def write_all(self, entries):
        self.comes()
        if not self.takes:
            return list(entries)
        self.taken += entries
        return []

    def counts(self):
        found = {}
        for each in self.taken:
            found[each.who, each.outcome] = found.get((each.who, each.outcome), 0) + each.count
        return found


@pytest.fixture
def trail():
    return Trail()


@pytest.fixture
def counts(trail):
    return ActCounts(trail)


@pytest.mark.parametrize("takes", list(itertools.product([True, False], repeat=3)))
@pytest.mark.parametrize("meanwhile", [0, 1, 3])
def test_every_request_is_counted_once_whenever_the_store_is_away_and_whatever_comes_meanwhile(
    trail, counts, takes, meanwhile
):
    def come(number):
        for _ in range(number):
            counts.add_request(a_request(), 200, Act.REQUEST)
            counts.add_request(a_request(code="forbidden", refused_items={"bad_parameter": 2}), 403, Act.TRIGGER)

    trail.comes = lambda: come(meanwhile)
    made = 0
    for trail.takes in takes:
        come(2)
        counts.write()
        made += 2 + meanwhile
    trail.comes, trail.takes = lambda: None, True
    counts.stop()
    assert trail.counts() == {("k1", "done"): made, ("k1", "forbidden"): made, ("k1", "bad_parameter"): 2 * made}


@pytest.mark.parametrize("kinds", range(8))
@pytest.mark.parametrize("away", [(), (0,), (1,), (0, 2)])
def test_every_piece_is_written_and_one_that_was_not_taken_is_written_next_time(
    trail, counts, monkeypatch, kinds, away
):
    monkeypatch.setattr(request_audit, "_PIECE", 3)
    pieces = []

    def come():
        trail.takes = len(pieces) not in away
        pieces.append(trail.takes)

    trail.comes = come
    for number in range(kinds):
        for _ in range(number + 1):
            counts.add_request(a_request(SimpleNamespace(id=f"k{number}", plugin="acme")), 200, Act.REQUEST)
    counts.write()
    assert len(pieces) == -(-kinds // 3)
    counts.write()
    counts.write()
    assert trail.counts() == {(f"k{number}", "done"): number + 1 for number in range(kinds)}


def test_a_period_has_a_limited_number_of_kinds_and_counts_the_others_without_whom(trail, counts, monkeypatch):
    monkeypatch.setattr(request_audit, "_MOST", 3)
    for _ in range(2):
        for number in range(5):
            counts.add_request(a_request(SimpleNamespace(id=f"k{number}", plugin="acme")), 200, Act.REQUEST)
        counts.write()
    assert trail.counts() == {("k0", "done"): 2, ("k1", "done"): 2, ("k2", "done"): 2, ("", "done"): 4}


def test_counts_are_written_once_a_period_and_those_of_requests_that_end_after_the_stop_too(trail, counts, monkeypatch):
    slept_s = []
    monkeypatch.setattr(request_audit, "time", SimpleNamespace(monotonic=time.monotonic, sleep=slept_s.append))
    for number in range(1, 5):
        counts.add_request(a_request(), 200, Act.REQUEST)
        counts._iterate()
        assert (slept_s, trail.counts()) == ([request_audit.PERIOD_S] * number, {("k1", "done"): number})
        if number == 2:
            counts.stop()


def test_a_stop_waits_for_counts_that_are_being_written_and_writes_them_if_they_were_not_taken(trail, counts):
    begun, may_end = threading.Event(), threading.Event()

    def fail_late():
        begun.set()
        assert may_end.wait(BUSY_S)
        trail.takes, trail.comes = False, lambda: setattr(trail, "takes", True)

    trail.comes = fail_late
    counts.add_request(a_request(), 200, Act.REQUEST)
    writing, stopping = threading.Thread(target=counts.write), threading.Thread(target=counts.stop)
    writing.start()
    assert begun.wait(BUSY_S)
    stopping.start()
    stopping.join(0.05)
    assert stopping.is_alive()
    may_end.set()
    for thread in (writing, stopping):
        thread.join(BUSY_S)
    assert trail.counts() == {("k1", "done"): 1}


def test_requests_without_a_key_are_counted_by_the_minute_and_at_the_end(trail, counts, monkeypatch):
    counts._unkeyed_s, now_s = 0.0, [0.0]
    monkeypatch.setattr(request_audit, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    for step_s, written in ((59, 0), (1, 2), (1, 2), (58, 2), (1, 5), (30, 5)):
        now_s[0] += step_s
        counts.add_request(a_request(None, "unauthenticated"), 401, Act.REQUEST)
        counts.add_request(a_request(None, "not_found"), 404, Act.REQUEST)
        counts.write()
        assert trail.counts() == ({("", "unauthenticated"): written} if written else {}), now_s
    counts.stop()
    assert trail.counts() == {("", "unauthenticated"): 6}
