"""A store and a broker found through Sentinels: killing a primary loses and doubles nothing, and silence is short."""

from __future__ import annotations

import os
import signal
import socket
import time

import redis

from relay.queue import make_app
from relay.store.scripting.loading import load_into
from relay.store.scripting.scripts import Scripts
from relay.store.server import connection as module
from relay.store.server.connection import connect
from tests.cluster.load import Load
from tests.cluster.sentinels import SERVICE, sentinels
from tests.conftest import start_valkey
from tests.integration.worker_harness import worker_harness
from tests.timing import ANSWER_S, wait_until
from tests.unit.test_settings import settings

FAILOVER_S = 60


def test_a_primary_that_is_killed_beneath_sentinels_loses_nothing_and_doubles_nothing(tmp_path_factory):
    with sentinels() as servers:
        settings = {"RELAY_REDIS_URL": servers.url, "RELAY_STORE_REPLICAS": "1", "RELAY_LEASE_MARGIN": "2"}
        with worker_harness(tmp_path_factory, **settings) as harness:
            harness.start_worker("bulk")
            with Load(harness) as load:
                load.wait_for(100)
                before = servers.primary_port()
                servers.kill(0)
                wait_until(lambda: servers.primary_port() != before, FAILOVER_S)
                load.wait_for(100)
                ends = load.check()
    assert ends["delivered"] > 0.8 * sum(ends.values())


def test_a_frozen_primary_that_has_been_replaced_is_not_asked_again(monkeypatch):
    monkeypatch.setattr(module, "_SOCKET_TIMEOUT_S", 1.0)
    with sentinels(replicas=1) as servers, connect(settings(REDIS_URL=servers.url)) as client:
        load_into(client)
        scripts = Scripts(client)
        scripts.run("read", [])
        primary, before = servers.servers[0]._process.pid, servers.primary_port()
        os.kill(primary, signal.SIGSTOP)
        try:
            wait_until(lambda: servers.primary_port() != before, FAILOVER_S)
            assert scripts.run("read", []) == []  # the first of its three tries waits
            for number in range(20):  # no connection has the reply to an earlier command
                assert client.echo(str(number)) == str(number).encode()
        finally:
            os.kill(primary, signal.SIGCONT)


def test_a_primary_that_still_answers_is_left_once_sentinels_name_another(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_ASK_AGAIN_S", 0.0)
    other = start_valkey(tmp_path)
    try:
        with sentinels(replicas=0, count=1) as servers, connect(settings(REDIS_URL=servers.url)) as client:
            scripts = Scripts(client)
            scripts.run("read", [])
            with redis.Redis(port=servers.ports[0]) as sentinel:
                sentinel.sentinel_remove(SERVICE)
                sentinel.sentinel_monitor(SERVICE, "127.0.0.1", other.port, 1)
            wait_until(lambda: client.info("server")["tcp_port"] == other.port)
            scripts.run("read", [])
            assert [each.connection.port for each in scripts._kept] == [other.port]
    finally:
        other.terminate()


def test_a_silent_sentinel_keeps_nobody_waiting_for_long():
    with sentinels(replicas=0, count=1) as servers, socket.create_server(("127.0.0.1", 0)) as silent:
        url = servers.url.replace("127.0.0.1:", f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:", 1)
        given = settings(REDIS_URL=url)
        began_s = time.monotonic()
        with connect(given) as client:
            assert client.ping()
        assert make_app(given).connection_for_write().default_channel.client.ping()
        assert time.monotonic() - began_s < ANSWER_S  # asked eleven times, it took over a minute
