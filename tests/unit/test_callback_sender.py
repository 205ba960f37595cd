"""Which calls' ends are reported to callbacks, how many at a time, and which are recorded as reported."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from relay.domain.reference_id import new_reference_id
from relay.errors import NotFound, OverCapacity, RequestRejected, Unavailable, VaultError, WebhookNotRegistered
from relay.store.ledger.callbacks import End
from relay.telemetry.log import Event
from relay.upkeep import callbacks
from relay.upkeep.callbacks import PIECE, SENDING_S, CallbackSender


class Site:
    """Ends still to be reported, a dispatcher, and a registry whose webhooks name ``ended`` as their callback."""

    def __init__(self):
        self.waiting = []
        self.replies = {}  # by callback; all others are accepted
        self.faults = {}  # errors when reading these webhooks' revisions
        self.partitions = 1
        self.limits, self.noted, self.calls, self.opened = [], [], [], []

    def send_due(self):
        return CallbackSender(self, self, self, self).send_due()

    def end(self, webhook_id="hook", callback="ended", status=200, error=False):
        end = End(new_reference_id("acme"), "acme", callback, status, error, 1_700_000_000_000, webhook_id, 3)
        self.waiting.append(end)
        return end

    def ask(self, ask):
        return [ask(number) for number in range(self.partitions)]

    def take(self, partition, limit):
        self.limits.append(limit)
        assert partition in range(self.partitions)
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return taken

    def delete(self, _partition, reference_ids):
        self.noted += reference_ids

    def open_target(self, *revision):
        self.opened.append(revision)
        if revision[1] in self.faults:
            raise self.faults[revision[1]]

    def revision(self, *revision):
        assert revision == self.opened[-1]
        return SimpleNamespace(shape=SimpleNamespace(callback="ended"))

    def trigger_many(self, calls):
        assert calls
        self.calls += calls
        return [self.replies.get(call.value["data"]["status"]) for call in calls]


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def said(events_of):
    return events_of(callbacks)


def test_where_nothing_has_ended_nothing_is_told(site, said):
    assert site.send_due() == 0
    assert (site.limits, site.calls, site.noted, said) == ([PIECE], [], [], [])


@pytest.mark.parametrize(("status", "error"), [(200, False), (404, True), (0, True)])
def test_an_end_is_told_of_as_it_was(site, said, status, error):
    end = site.end(status=status, error=error)
    assert (site.send_due(), site.noted, said) == (1, [end.reference_id], [])
    (call,) = site.calls
    assert (call.plugin, call.webhook_id, call.caller, call.is_own) == ("acme", "ended", "callback", True)
    assert (call.awaited, site.opened) == (False, [("acme", "hook", 3)])
    assert call.value == {"data": {"referenceId": end.reference_id, "status": status, "error": error}}


def test_an_end_has_one_reference_id_whoever_tells_of_it_and_each_has_its_own(site):
    ends = [site.end(), site.end()]
    site.send_due()
    site.waiting = ends
    site.send_due()
    refs = [call.reference_id for call in site.calls]
    assert refs[:2] == refs[2:]
    assert len({*refs, *(end.reference_id for end in ends)}) == 4


@pytest.mark.parametrize(
    ("count", "pieces"), [(PIECE - 1, 1), (PIECE, 2), (PIECE + 1, 2), (3 * PIECE, 4), (3 * PIECE - 1, 3)]
)
def test_ends_are_told_of_a_piece_at_a_time_until_there_are_no_more(site, monkeypatch, count, pieces):
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: 5.0))
    ends = [site.end() for _ in range(count)]
    assert site.send_due() == count
    assert site.limits == [PIECE] * pieces
    assert site.noted == [end.reference_id for end in ends]


def test_ends_of_several_partitions_are_told_of_until_there_are_no_more(site, monkeypatch):
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: 5.0))
    site.partitions = 2
    for _ in range(3 * PIECE):
        site.end()
    assert (site.send_due(), site.limits) == (3 * PIECE, [PIECE] * 5)


@pytest.mark.parametrize(("each_s", "pieces"), [(SENDING_S, 2), (SENDING_S * 1.01, 1), (SENDING_S / 2, 3)])
def test_a_sweep_tells_for_a_while_and_leaves_the_rest(site, monkeypatch, each_s, pieces):
    now_s = [0.0]
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    take = site.take
    site.take = lambda *args: now_s.__setitem__(0, now_s[0] + each_s) or take(*args)
    for _ in range(5 * PIECE):
        site.end()
    assert site.send_due() == pieces * PIECE
    assert len(site.waiting) == (5 - pieces) * PIECE


@pytest.mark.parametrize(
    ("fault", "named"), [(NotFound(), "ended"), (VaultError(), "ended"), (None, "another"), (None, "other"), (None, "")]
)
def test_what_the_called_revision_does_not_name_is_told_to_nobody_and_does_not_come_again(site, said, fault, named):
    good = site.end()
    if fault:
        site.faults = {"altered": fault}
    bad = site.end("altered", named)
    also_good = site.end()
    assert site.send_due() == 2
    assert [call.value["data"]["referenceId"] for call in site.calls] == [good.reference_id, also_good.reference_id]
    assert site.noted == [bad.reference_id, good.reference_id, also_good.reference_id]
    unverified = {"level": logging.ERROR, "ref": bad.reference_id, "plugin": "acme"}
    assert said == [(Event.CALLBACK_UNVERIFIED, unverified)]


def test_what_is_told_to_nobody_keeps_no_other_end_from_being_told_of(site, monkeypatch):
    monkeypatch.setattr(callbacks, "PIECE", 2)
    for callback in ("other", "ended", "other", "other", "ended"):
        site.end(callback=callback)
    assert (site.send_due(), site.limits) == (2, [2, 2, 2])


def test_where_nothing_that_ended_is_named_nobody_is_called(site, said):
    bad = site.end(callback="other")
    assert (site.send_due(), site.calls, site.noted) == (0, [], [bad.reference_id])


@pytest.mark.parametrize(
    ("reply", "is_done"),
    [
        *((object(), True), (RequestRejected(), True), (WebhookNotRegistered(), True)),
        *((OverCapacity(), False), (Unavailable(), False)),
    ],
)
def test_what_is_accepted_or_refused_was_told_and_what_is_not_for_now_comes_again(site, reply, is_done):
    first, other, last = site.end(), site.end(status=201), site.end()
    site.replies = {201: reply}
    assert site.send_due() == 2 + is_done
    assert site.noted == [first.reference_id, *[other.reference_id] * is_done, last.reference_id]
