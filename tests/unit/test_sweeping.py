"""What one sweep does, within which limits, and what it leaves to the next sweep."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from relay.errors import Unavailable
from relay.telemetry.log import Event
from relay.upkeep import sweeper
from relay.upkeep.sweeper import (
    ALARMS,
    CALLS,
    DROPPING_S,
    EXPIRING_S,
    PRUNING_S,
    RECORDS,
    REVISITING_S,
    WEBHOOKS,
    Sweeper,
)

READY = (("ref", "bulk"),)


class Site:
    """A store and a publisher; every request to the store takes ``each_s`` seconds."""

    def __init__(self):
        self.now_s = 1_000.0
        self.each_s = 0.0
        self.rung, self.told = (), 0
        self.dropped = 0  # how many records still have to lose their contents
        self.revisited = {}  # by webhook, the calls that a look at it makes ready
        self.ended = []  # how many calls each look ends; more remain until the last look
        self.old = 0  # how many expired records there are
        self.partitions = 1  # each prunes as many records as it is asked to
        self.is_away = False
        self.swept, self.limits, self.published = [], [], []
        self.sweeper = Sweeper(
            self,
            self,
            self,
            send_due=lambda: self.told,
            forget_due=int,
            workers_alive=lambda: 1_000,
            chance=lambda: self.chance,
        )
        self.chance = 0.0

    def sweep(self, *, limit):
        """Of the store."""
        if self.is_away:
            raise Unavailable
        self.swept.append(limit)
        return self.rung

    def is_left_to_others(self):
        """Return whether a sweeper that may leave the next sweep to others does so."""
        self.chance, before = 0.9, len(self.swept)
        self.sweeper.sweep()
        return len(self.swept) == before

    def publish_ready(self, ready):
        if ready:
            self.published.append(ready)

    def drop_contents(self, *, limit):
        self.limits.append(limit)
        self.now_s += self.each_s
        piece = min(limit, self.dropped)
        self.dropped -= piece
        return piece, self.dropped > 0

    def ask(self, ask):
        """Of the partitions."""
        return [ask(0)]

    def revisits(self, _partition, *, limit):
        self.limits.append(limit)
        return [("acme", webhook_id) for webhook_id in self.revisited]

    def revisit(self, _plugin, webhook_id):
        for ready in self.revisited[webhook_id]:
            self.now_s += self.each_s
            yield ready

    def expire(self, *, limit):
        self.limits.append(limit)
        self.now_s += self.each_s
        count = self.ended.pop(0) if self.ended else 0
        return count, bool(self.ended), READY if count else ()

    def prune(self, *, limit):
        self.limits.append(limit)
        self.now_s += self.each_s
        piece = min(self.partitions * limit, self.old)
        self.old -= piece
        return piece


@pytest.fixture
def site(monkeypatch, events_of):
    site = Site()
    monkeypatch.setattr(sweeper, "time", SimpleNamespace(monotonic=lambda: site.now_s))
    site.said = events_of(sweeper)
    return site


def test_a_sweep_that_finds_nothing_says_and_publishes_nothing(site):
    site.sweeper.sweep()
    assert (site.published, site.said, site.sweeper.moves) == ([], [], 1)
    assert site.swept == [ALARMS]
    assert site.limits == [RECORDS, WEBHOOKS, CALLS, RECORDS]


def test_what_a_sweep_did_is_said_and_published(site):
    site.rung, site.dropped, site.told, site.old = READY * 3, 2, 4, 5
    site.revisited = {"hook": [(("woken", "bulk"),), ()], "other": [(("also", "bulk"),)]}
    site.ended = [6, 7]
    site.sweeper.sweep()
    assert site.published == [READY * 3, (("woken", "bulk"),), (("also", "bulk"),), READY, READY]
    assert site.said == [
        (Event.SWEPT, {"published": 3}),
        (Event.CONTENTS_DROPPED, {"records": 2}),
        (Event.EXPIRED, {"calls": 13}),
        (Event.CALLED_BACK, {"calls": 4}),
        (Event.PRUNED, {"records": 5}),
    ]


@pytest.mark.parametrize(
    ("left", "few", "many"),
    [
        ("rung", READY * (ALARMS - 1), READY * ALARMS),
        *(("ended", [CALLS - 1], [CALLS]), ("ended", [1, CALLS - 2], [1, CALLS - 1])),
        *(("told", CALLS - 1, CALLS), ("old", RECORDS - 1, RECORDS)),
        *(("rung", (), READY * (ALARMS + 1)), ("ended", [], [CALLS, CALLS]), ("told", 0, CALLS + 1)),
    ],
)
def test_a_sweep_that_may_have_left_something_is_followed_by_one_that_is_left_to_nobody(site, left, few, many):
    setattr(site, left, few)
    site.sweeper.sweep()
    assert site.is_left_to_others()
    site.chance = 0.0
    setattr(site, left, many)
    site.sweeper.sweep()
    assert not site.is_left_to_others()


def pieces(bound_s, each_s):
    """Return how many pieces of ``each_s`` seconds are begun within ``bound_s`` seconds."""
    return int(bound_s / each_s) + 1


@pytest.mark.parametrize("each_s", [PRUNING_S * 2, PRUNING_S * 0.6, PRUNING_S * 0.3])
def test_forgetting_is_left_to_the_next_sweep_when_its_time_is_over(site, each_s):
    site.old, site.each_s = 100 * RECORDS, each_s
    site.sweeper.sweep()
    assert site.old == (100 - pieces(PRUNING_S, each_s)) * RECORDS


def test_contents_are_dropped_until_plugins_keep_no_more_than_they_may(site):
    site.dropped = 6 * RECORDS + 1
    site.sweeper.sweep()
    assert (site.dropped, site.said) == (0, [(Event.CONTENTS_DROPPED, {"records": 6 * RECORDS + 1})])


@pytest.mark.parametrize("each_s", [DROPPING_S * 2, DROPPING_S * 0.6, DROPPING_S * 0.3])
def test_dropping_contents_is_left_to_the_next_sweep_when_its_time_is_over(site, each_s):
    site.dropped, site.each_s = 100 * RECORDS, each_s
    site.sweeper.sweep()
    assert site.dropped == (100 - pieces(DROPPING_S, each_s)) * RECORDS
    assert not site.is_left_to_others()


@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_what_is_old_is_forgotten_until_there_is_no_more_in_whatever_partition(site, partitions):
    site.partitions, site.old = partitions, 6 * RECORDS
    site.sweeper.sweep()
    assert site.old == 0


@pytest.mark.parametrize("each_s", [EXPIRING_S * 2, EXPIRING_S * 0.6, EXPIRING_S * 0.3])
def test_ending_calls_is_left_to_the_next_sweep_when_its_time_is_over(site, each_s):
    site.ended, site.each_s = [1] * 100, each_s
    site.sweeper.sweep()
    assert len(site.ended) == 100 - pieces(EXPIRING_S, each_s)


def test_ending_calls_goes_on_while_there_are_more_and_time_is_left(site):
    site.ended = [0, 1, 0, 5, 0]
    site.sweeper.sweep()
    assert site.said == [(Event.EXPIRED, {"calls": 6})]


@pytest.mark.parametrize("each_s", [REVISITING_S * 2, REVISITING_S * 0.6, REVISITING_S * 0.3])
def test_going_through_calls_is_left_to_the_next_sweep_when_its_time_is_over(site, each_s):
    site.revisited, site.each_s = {name: [READY, READY] for name in "abcdef"}, each_s
    site.sweeper.sweep()
    assert len(site.published) == pieces(REVISITING_S, each_s)


def test_a_store_that_is_away_ends_no_sweeper_and_is_said_once(site, monkeypatch):
    noted = []
    failures = SimpleNamespace(note=noted.append, succeeded=lambda: noted.append("succeeded"))
    monkeypatch.setattr(site.sweeper, "_failures", failures)
    site.is_away = True
    site.sweeper.sweep()
    assert [type(each) for each in noted] == [Unavailable]
    assert site.sweeper.moves == 1
    site.is_away = False
    site.sweeper.sweep()
    assert (noted[1:], site.sweeper.moves) == (["succeeded"], 2)
