"""The door while the server that has the API keys is silent: known keys open it, revoked ones that were heard of do not."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from relay.errors import Unauthenticated, Unavailable
from relay.store.api_keys import keys as module
from relay.store.api_keys.keys import KEPT_S, KEY_AGE_S, ApiKeys
from relay.store.decisions.decisions import AGE_S
from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.server.connection import client_of
from relay.vault import Vault
from tests.cluster.servers import cluster
from tests.timing import ANSWER_S, BUSY_S, least, wait_until

PLUGIN = "acme"
LIMIT_S = 2.0


class Clock:
    """The monotonic clock of the module, which the test moves on."""

    def __init__(self):
        self.ahead_s = 0.0

    def monotonic(self):
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic, time=time.time))
    return clock


@pytest.fixture(scope="module")
def servers():
    with cluster(3) as servers:
        servers.spare_the_disk()
        yield servers


@pytest.fixture
def process_of(servers):
    """Make the API keys as one process has them: each with a client and a memory of its own."""
    clients, vault = [], Vault.from_text(Vault.new_key_text())

    def make():
        clients.append(client_of(servers.url, socket_timeout=5.0))
        return ApiKeys(clients[-1], vault, Keyspace(16))

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def silent(servers):
    """Freezes the server of the shared keys for a while."""

    @contextmanager
    def freeze():
        with client_of(servers.url, socket_timeout=ANSWER_S) as client:
            port = client.get_node_from_key(SHARED_ROOT).port
        number = next(number for number, server in enumerate(servers.servers) if server.port == port)
        servers.freeze(number)
        try:
            yield
        finally:
            servers.thaw(number)

    return freeze


def opens(keys, text):
    try:
        return keys.authenticate(text).plugin == PLUGIN
    except Unauthenticated:
        return False


def test_a_verified_key_waits_for_the_silent_server_no_longer_than_two_seconds(process_of, silent, clock):
    def slowest_s():
        clock.ahead_s, keys, took_s = 0.0, process_of(), []
        text, _ = keys.create(PLUGIN, ["trigger"])
        assert opens(keys, text)
        with silent():
            for clock.ahead_s in (KEY_AGE_S, 10, KEPT_S / 2, KEPT_S - 60):
                began_s = time.monotonic()
                assert opens(keys, text)
                took_s.append(time.monotonic() - began_s)
        wait_until(lambda: is_open_again(keys, text), every_s=0.2)
        return max(took_s)

    assert least(slowest_s, wanted=LIMIT_S) < LIMIT_S


def test_a_key_that_was_verified_opens_the_door_for_ten_minutes(process_of, silent, clock):
    keys = process_of()
    text, _ = keys.create(PLUGIN, ["trigger"])
    stranger, _ = keys.create(PLUGIN, ["trigger"])
    assert opens(keys, text)
    with silent():
        for clock.ahead_s in (KEY_AGE_S, 10, KEPT_S / 2, KEPT_S - 60):
            assert opens(keys, text)
        with pytest.raises(Unavailable):
            keys.authenticate(stranger)
        assert not opens(keys, text[:-1] + ("a" if text[-1] != "a" else "b"))
        clock.ahead_s = KEPT_S + KEY_AGE_S
        with pytest.raises(Unavailable):
            keys.authenticate(text)
    wait_until(lambda: is_open_again(keys, text), every_s=0.2)


def test_who_waits_for_the_silent_server_holds_up_no_known_key(process_of, silent, clock):
    keys = process_of()
    text, _ = keys.create(PLUGIN, ["trigger"])
    stranger, _ = keys.create(PLUGIN, ["trigger"])
    assert opens(keys, text)
    time.sleep(AGE_S)
    with silent():
        waiting = threading.Thread(target=is_open_again, args=(keys, stranger))
        waiting.start()
        time.sleep(0.2)
        clock.ahead_s = KEY_AGE_S
        began_s = time.monotonic()
        assert opens(keys, text)
        assert time.monotonic() - began_s < LIMIT_S
        waiting.join()
    wait_until(lambda: is_open_again(keys, stranger), every_s=0.2)


def is_open_again(keys, text):
    try:
        return opens(keys, text)
    except Unavailable:
        return False


def test_what_was_asked_in_vain_does_not_count_as_verified_anew(process_of, silent, clock):
    keys = process_of()
    text, _ = keys.create(PLUGIN, ["trigger"])
    assert opens(keys, text)
    with silent():
        for _ in range(3):
            clock.ahead_s += KEPT_S / 4
            assert opens(keys, text)
        clock.ahead_s += KEPT_S / 2
        with pytest.raises(Unavailable):
            keys.authenticate(text)
    wait_until(lambda: is_open_again(keys, text), every_s=0.2)


def test_a_revocation_is_honoured_by_who_has_heard_of_it_and_by_all_once_the_server_answers(process_of, silent, clock):
    revoking, heard, unaware = process_of(), process_of(), process_of()
    text, key = revoking.create(PLUGIN, ["trigger"])
    other, _ = revoking.create(PLUGIN, ["trigger"])
    for keys in (revoking, heard, unaware):
        assert opens(keys, text)
    clock.ahead_s += KEY_AGE_S  # all of them would ask again
    revoking.revoke(key.id)
    time.sleep(AGE_S)
    assert opens(heard, other)
    with silent():
        assert [opens(keys, text) for keys in (heard, unaware)] == [False, True]
        with pytest.raises((Unauthenticated, Unavailable)):
            revoking.authenticate(text)
    wait_until(lambda: not opens(unaware, text), KEY_AGE_S + BUSY_S, every_s=0.1)


def test_many_unknown_keys_push_no_verified_one_out(process_of, silent, clock, monkeypatch):
    monkeypatch.setattr(module, "_MAX_REMEMBERED", 4)
    keys = process_of()
    text, _ = keys.create(PLUGIN, ["trigger"])
    assert opens(keys, text)
    for number in range(10):
        assert not opens(keys, f"whk_{number:016x}_{'0' * 43}")
    clock.ahead_s += KEY_AGE_S
    with silent():
        assert opens(keys, text)


def test_origins_are_known_as_long_however_often_they_are_asked_for(process_of, silent, clock):
    keys = process_of()
    keys.create(PLUGIN, ["trigger"], ["https://app.example.com"])
    assert "https://app.example.com" in keys.origins()
    with silent():
        for _ in range(3):
            clock.ahead_s += 0.3 * KEPT_S
            assert "https://app.example.com" in keys.origins()
        clock.ahead_s += 0.1 * KEPT_S
        with pytest.raises(Unavailable):
            keys.origins()
