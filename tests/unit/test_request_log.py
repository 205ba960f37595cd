"""How accepted calls are gathered for the log."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from falcon.testing import create_environ

import api.request_log as module
from api.door import ApiRequest
from api.request_log import MOST_CALLS, AcceptedCalls, RequestLog
from relay.audit.entry import Act
from relay.authentication import unkeyed_refusals
from relay.authentication.source_address import SourceAddresses
from relay.authentication.unkeyed_refusals import UnkeyedRefusals
from relay.telemetry.log import Event

THREADS = 8
CALLS = 1_000


@pytest.fixture
def written(monkeypatch):
    """The calls of each event."""
    events = []
    monkeypatch.setattr(module, "event", lambda _name, *, calls: events.append(calls))
    return events


def add(gathered, name):
    gathered.add(name, 202, 1.5, "acme", "k1")


def test_calls_are_written_together_once(written):
    gathered = AcceptedCalls()
    add(gathered, "a")
    add(gathered, "b")
    assert written == []
    gathered.write()
    gathered.write()
    assert written == [[("a", 202, 1.5, "acme", "k1"), ("b", 202, 1.5, "acme", "k1")]]


@pytest.mark.parametrize(("count", "events"), [(MOST_CALLS - 1, 0), (MOST_CALLS, 1), (2 * MOST_CALLS, 2)])
def test_an_event_has_a_limited_number_of_calls(written, count, events):
    gathered = AcceptedCalls()
    for number in range(count):
        add(gathered, str(number))
    assert [len(calls) for calls in written] == [MOST_CALLS] * events


def test_from_a_stop_on_each_call_is_written_at_once(written):
    gathered = AcceptedCalls()
    add(gathered, "a")
    gathered.stop()
    add(gathered, "b")
    assert [[call[0] for call in calls] for calls in written] == [["a"], ["b"]]


def test_threads_that_add_and_write_at_the_same_time_lose_nothing(written):
    gathered = AcceptedCalls()

    def work(number):
        for each in range(CALLS):
            add(gathered, f"{number}-{each}")
            if each % 7 == 0:
                gathered.write()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gathered.write()
    names = [call[0] for calls in written for call in calls]
    assert sorted(names) == sorted(f"{number}-{each}" for number in range(THREADS) for each in range(CALLS))


@pytest.mark.parametrize("act", [Act.REQUEST, Act.TRIGGER])
@pytest.mark.parametrize("key", [None, SimpleNamespace(id="k1", plugin="acme")])
@pytest.mark.parametrize(("status", "code"), [
    *((200, None), (401, "unauthenticated"), (404, "not_found"), (429, "rate_limited"), (499, "other")),
    *((500, "internal"), (503, "unavailable")),
])  # fmt: skip
def test_a_refusal_is_only_counted_without_a_key_and_a_fault_of_the_relay_is_always_told(
    monkeypatch, status, code, key, act
):
    told, counted = [], []
    monkeypatch.setattr(module, "event", lambda _name, **more: told.append((more["status"], more["code"])))
    monkeypatch.setattr(unkeyed_refusals, "event", lambda _name, **more: counted.append(more["codes"]))
    monkeypatch.setattr(unkeyed_refusals, "PERIOD_S", 0)
    log, request = RequestLog(SourceAddresses(())), ApiRequest(create_environ())
    request.context.key, request.context.code = key, code
    log.add(request, status, act)
    log._refusals.write_if_due()
    is_counted = key is None and code is not None and status < 500
    assert (told, counted) == (([], [{code: 1}]) if is_counted else ([(status, code)], []))


def test_refusals_without_a_key_share_one_line_a_minute(monkeypatch):
    told, now_s = [], [0.0]
    monkeypatch.setattr(unkeyed_refusals, "event", lambda _name, **more: told.append((now_s[0], more)))
    monkeypatch.setattr(unkeyed_refusals, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    refusals = UnkeyedRefusals()
    for now_s[0] in (0, 59, 60, 61, 119, 120, 180, 240):
        refusals.write_if_due()
        if now_s[0] < 120:
            refusals.add("unauthenticated", f"192.0.2.{now_s[0] % 60}")
    of_two, of_three = ({"count": n, "codes": {"unauthenticated": n}, "addresses": n} for n in (2, 3))
    assert told == [(60, of_two), (120, of_three)]


def test_refusals_are_counted_from_any_number_of_addresses_and_so_many_addresses_are_told_apart(monkeypatch):
    told = []
    monkeypatch.setattr(unkeyed_refusals, "event", lambda _name, **more: told.append(more))
    monkeypatch.setattr(unkeyed_refusals, "PERIOD_S", 0)
    monkeypatch.setattr(unkeyed_refusals, "MAX_SOURCE_ADDRESSES", 3)
    refusals = UnkeyedRefusals()
    for number in (0, 0, 1, 2, 3, 4, 1):
        refusals.add("unauthenticated" if number else "misdirected_request", f"192.0.2.{number}")
    refusals.write_if_due()
    assert told == [{"count": 7, "codes": {"misdirected_request": 2, "unauthenticated": 5}, "addresses": 3}]


@pytest.mark.parametrize("act", [Act.REQUEST, Act.TRIGGER])
@pytest.mark.parametrize(("reference_id", "items", "code"), [
    *((None, None, None), (None, 3, None), ("r-1", None, "request_rejected"), ("r-1", None, "internal")),
])  # fmt: skip
@pytest.mark.parametrize(("method", "shown"), [("GET", "GET"), ("POST", "POST"), ("PATCH", "PATCH"), ("BREW", None)])
def test_an_event_of_a_request_says_who_asked_for_what_and_what_came_of_it(
    monkeypatch, method, shown, reference_id, items, code, act
):
    told = []
    monkeypatch.setattr(module, "event", lambda name, **more: told.append({"name": name, **more}))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 12.3456))
    request = ApiRequest(create_environ(method=method))
    request.uri_template, context = "/v1/any/{name}", request.context
    context.key, context.code, context.started_s = SimpleNamespace(id="k1", plugin="acme"), code, 12.0
    context.reference_id, context.item_count = reference_id, items
    RequestLog(SourceAddresses(())).add(request, 422, act)
    assert told == [
        {
            "name": Event.REQUEST,
            "method": shown,
            "route": "/v1/any/{name}",
            "status": 422,
            "code": code,
            "plugin": "acme",
            "key": "k1",
            "reference_id": reference_id,
            "items": items,
            "ms": 345.6,
        }
    ]


def test_an_accepted_call_is_gathered_with_what_it_took_and_written_within_a_moment(monkeypatch, written):
    clock = [12.3456]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda _: None))
    log, request = RequestLog(SourceAddresses(())), ApiRequest(create_environ())
    context = request.context
    context.key, context.started_s, context.reference_id = SimpleNamespace(id="k1", plugin="acme"), 12.0, "r-1"
    log.add(request, 200, Act.TRIGGER)
    log.add(request, 202, Act.TRIGGER)
    assert written == []
    log._iterate()
    assert written == [[("r-1", 200, 345.6, "acme", "k1"), ("r-1", 202, 345.6, "acme", "k1")]]
