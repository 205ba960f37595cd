"""Concurrent look-ups of one name share a single look-up."""

from types import SimpleNamespace

import gevent
import pycurl
import pytest
import requests

from relay.domain.invocation import Outcome
from relay.egress import AddressPolicy
from relay.outbound import lookups as lookups_module
from relay.outbound.exchange import REPEATABLE_IDLE_S, UNREPEATABLE_IDLE_S, Exchange, Rules
from relay.outbound.lookups import _HOLD_S, _KNOWN_S, _REUSED_S, CACHE_S, FRESH_CACHE_S, Lookup, Lookups
from relay.outbound.transfer import Transfer
from relay.process.clock import boot_time_s
from tests.timing import BUSY_S, stop_clock

ORIGIN = "https://hooks.example.com"


@pytest.fixture
def lookups():
    return Lookups()


def begin(lookups, origin=ORIGIN, for_s=5.0):
    now_s = boot_time_s()
    return lookups.begin(origin, now_s, now_s + for_s)


def followers(lookups, count=5, for_s=5.0):
    waiting = [gevent.spawn(begin, lookups, ORIGIN, for_s) for _ in range(count)]
    gevent.sleep(0)
    assert not any(call.ready() for call in waiting)
    return waiting


def test_the_first_call_leads_and_the_others_go_when_the_name_is_found(lookups):
    leader = begin(lookups)
    assert isinstance(leader, Lookup)
    waiting = followers(lookups)
    leader.found()
    gevent.joinall(waiting, raise_error=True)
    assert [call.value for call in waiting] == [None] * 5
    assert begin(lookups) is None


def test_other_names_do_not_wait(lookups):
    assert isinstance(begin(lookups), Lookup)
    assert isinstance(begin(lookups, "https://other.example.com"), Lookup)


def test_a_name_that_does_not_resolve_fails_for_all_that_waited_and_is_tried_again_by_the_next(lookups):
    leader = begin(lookups)
    waiting = followers(lookups)
    leader.end(Outcome.DNS_FAILED)
    gevent.joinall(waiting, raise_error=True)
    assert [call.value for call in waiting] == [Outcome.DNS_FAILED] * 5
    assert isinstance(begin(lookups), Lookup)


@pytest.mark.parametrize("outcome", [Outcome.CONNECT_TIMEOUT, None])
def test_a_look_up_that_hangs_is_not_repeated_at_once_and_who_waits_ends_at_its_deadline(lookups, outcome):
    leader = begin(lookups)
    waiting = followers(lookups, for_s=0.3)
    leader.end(outcome)
    begun = boot_time_s()
    gevent.joinall(waiting, raise_error=True)
    assert [call.value for call in waiting] == [Outcome.CONNECT_TIMEOUT] * 5
    assert boot_time_s() - begun < 30


def test_a_call_that_waits_for_another_s_look_up_ends_at_its_own_deadline(lookups):
    begin(lookups)
    assert gevent.spawn(begin, lookups, ORIGIN, 0.05).get(timeout=BUSY_S) is Outcome.CONNECT_TIMEOUT


def test_after_a_look_up_that_hung_another_is_tried_in_time(lookups, monkeypatch):
    monkeypatch.setattr("relay.outbound.lookups._HOLD_S", 0.05)
    begin(lookups).end(None)
    assert isinstance(begin(lookups), Lookup)


def test_who_waits_for_a_look_up_that_hung_sleeps_until_the_next_one_or_its_own_deadline(lookups, monkeypatch):
    now_s, slept_s = [100.0], []

    def pass_s(seconds):
        now_s[0] += seconds
        return now_s[0]

    monkeypatch.setattr(lookups_module, "boot_time_s", lambda: pass_s(0.25))
    monkeypatch.setattr(gevent, "sleep", lambda seconds: slept_s.append(seconds) or pass_s(seconds))
    lookups.begin(ORIGIN, 100.0, 200.0).end(None)
    now_s[0] = 101.0
    assert lookups.begin(ORIGIN, 101.0, 104.0) is Outcome.CONNECT_TIMEOUT
    assert lookups.begin(ORIGIN, 104.0, 200.0)
    assert slept_s == [3.0, _HOLD_S - 4]


def test_a_leader_that_fails_before_it_looks_up_lets_the_next_one_lead(lookups):
    leader = begin(lookups)
    waiting = followers(lookups, count=1)
    leader.end(Outcome.PREPARE_FAILED)
    assert isinstance(waiting[0].get(), Lookup)


def test_a_leader_on_a_kept_connection_lets_the_others_go(lookups):
    leader = begin(lookups)
    waiting = followers(lookups)
    leader.not_needed()
    gevent.joinall(waiting, raise_error=True)
    assert [call.value for call in waiting] == [None] * 5


def test_a_call_past_its_deadline_does_not_begin(lookups):
    assert begin(lookups, for_s=-1) is Outcome.CONNECT_TIMEOUT


@pytest.mark.parametrize(("note", "for_s"), [(Lookup.found, _KNOWN_S), (Lookup.not_needed, _REUSED_S)])
def test_a_name_that_was_found_is_looked_up_again_after_a_while(lookups, monkeypatch, note, for_s):
    clock = stop_clock(monkeypatch)
    for _ in range(2):
        note(begin(lookups))
        clock(0.9 * for_s)
        assert begin(lookups) is None
        clock(0.2 * for_s)


def test_a_look_up_that_hung_and_ends_at_last_does_not_end_the_one_after_it(lookups, monkeypatch):
    clock = stop_clock(monkeypatch)
    hung = begin(lookups)
    hung.end(None)
    clock(_HOLD_S)
    other = begin(lookups)
    lookups.forget(ORIGIN, hung)
    waiting = followers(lookups, count=1)
    other.found()
    assert waiting[0].get() is None


def test_so_many_names_are_remembered(lookups, monkeypatch):
    monkeypatch.setattr(lookups_module, "_MAX_KNOWN", 2)
    for number in range(9):
        begin(lookups, f"https://{number}.example.com").found()
        assert len(lookups._known) <= 2
    assert begin(lookups, "https://8.example.com") is None


def test_whoever_leads_a_look_up_has_the_name_looked_up_anew_and_nobody_else():
    exchange, options = Exchange(Rules(AddressPolicy(), "", 1)), {}
    exchange.easy = SimpleNamespace(setopt=options.__setitem__)
    request = requests.Request("POST", ORIGIN).prepare()
    for repeatable in (False, True, False):  # with one handle
        for leads in (False, True):
            transfer = Transfer(request, None, 0.0, repeatable=repeatable)
            transfer.lookup = Lookup(Lookups(), ORIGIN, 0.0) if leads else None
            exchange.start(transfer, None, 5.0)
            assert options[pycurl.DNS_CACHE_TIMEOUT] == (FRESH_CACHE_S if leads else CACHE_S)
            assert options[pycurl.MAXAGE_CONN] == (REPEATABLE_IDLE_S if repeatable else UNREPEATABLE_IDLE_S)
