"""How many logins to Flower may fail from one address, and what is told of those that do."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace

import pytest
from tornado.httputil import HTTPHeaders
from tornado.web import Finish, HTTPError

from relay.authentication import source_address, unkeyed_refusals
from workers import logins
from workers.logins import Logins

LIMIT = 2
PROXY, CLIENT, OTHER = "10.0.0.1", "203.0.113.7", "203.0.113.8"
TRUSTED = [ipaddress.ip_network("10.0.0.0/8")]


class Handler:
    """A handler of Flower with one request; it keeps what it answers."""

    def __init__(self, peer, *forwarded, password="wrong"):
        headers = HTTPHeaders({} if password is None else {"Authorization": password})
        for entry in forwarded:
            headers.add("X-Forwarded-For", entry)
        self.request = SimpleNamespace(remote_ip=peer, headers=headers)
        self.status, self.headers, self.text = None, {}, None

    def set_status(self, status):
        self.status = status

    def set_header(self, name, value):
        self.headers[name] = value

    def finish(self, text):
        self.text = text


class Desk:
    """Logs in to Flower, whose clock stands until it is moved, and whose loop runs what it is to call later."""

    def __init__(self, monkeypatch, trusted=()):
        self.now_s, self.later, self.checked = 30.0, [], 0
        clock = SimpleNamespace(time=lambda: self.now_s, monotonic=lambda: self.now_s)
        for module in (source_address, unkeyed_refusals):
            monkeypatch.setattr(module, "time", clock)
        loop = SimpleNamespace(call_later=lambda *call: self.later.append(call))
        monkeypatch.setattr(logins, "IOLoop", SimpleNamespace(current=lambda: loop))
        self._user_of = Logins(LIMIT, trusted).limited(self._check)

    def _check(self, handler):
        self.checked += 1
        if handler.request.headers.get("Authorization") != "right":
            raise KeyError
        return "desk"

    def login(self, handler):
        """Return the user, or the status with which a login is refused."""
        try:
            return self._user_of(handler)
        except HTTPError as error:
            return error.status_code
        except Finish:
            return handler.status


@pytest.fixture
def desk(monkeypatch):
    return Desk(monkeypatch)


def test_after_so_many_failures_an_address_waits_for_the_next_minute_and_no_password_is_looked_at(desk):
    assert [desk.login(Handler(CLIENT)) for _ in range(LIMIT)] == [401] * LIMIT
    refused = Handler(CLIENT, password="right")
    assert desk.login(refused) == 429
    assert desk.checked == LIMIT
    assert refused.headers == {"Retry-After": "30", "Content-Type": "text/plain; charset=utf-8"}
    assert "wait a minute" in refused.text
    assert desk.login(Handler(OTHER, password="right")) == "desk"
    desk.now_s += 30
    assert desk.login(Handler(CLIENT, password="right")) == "desk"


def test_a_request_without_a_password_is_refused_and_has_failed_nothing(desk):
    assert {desk.login(Handler(CLIENT, password=None)) for _ in range(3 * LIMIT)} == {401}
    assert desk.login(Handler(CLIENT, password="right")) == "desk"
    assert desk.later == []


@pytest.mark.parametrize(
    ("trusted", "forwarded", "is_shared"),
    [
        (TRUSTED, [(CLIENT,), (OTHER,)], False),
        (TRUSTED, [(f"{OTHER}, {CLIENT}",), (f"{CLIENT}, {OTHER}",)], False),
        (TRUSTED, [(OTHER, CLIENT), (CLIENT, OTHER)], False),  # a field each
        (TRUSTED, [(f"{OTHER}, {CLIENT}",), (CLIENT,)], True),
        (TRUSTED, [(), ()], True),
        ((), [(CLIENT,), (OTHER,)], True),
    ],
)
def test_behind_a_trusted_proxy_and_only_there_the_failures_of_each_client_count_alone(
    monkeypatch, trusted, forwarded, is_shared
):
    desk, (one, other) = Desk(monkeypatch, trusted), forwarded
    for _ in range(LIMIT):
        desk.login(Handler(PROXY, *one))
    assert desk.login(Handler(PROXY, *one, password="right")) == 429
    assert desk.login(Handler(PROXY, *other, password="right")) == (429 if is_shared else "desk")


def test_a_minute_s_refusals_make_one_line_and_those_of_a_later_minute_another(desk, events_of):
    said = events_of(unkeyed_refusals)
    for minute in range(2):
        for peer in (CLIENT, CLIENT, CLIENT, OTHER):
            desk.login(Handler(peer))
        ((after_s, write),) = desk.later
        desk.later.clear()
        desk.now_s += after_s
        write()
        counted = {"unauthenticated": 3, "rate_limited": 1}
        assert [fields for _, fields in said[minute:]] == [{"count": 4, "codes": counted, "addresses": 2}]
