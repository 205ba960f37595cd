"""What a process waits for if its single server is frozen: it takes requests and connections, and answers none."""

from __future__ import annotations

import os
import signal
import time

import pytest

from relay.errors import Unavailable
from relay.store.scripting.loading import load_into
from relay.store.scripting.scripts import Scripts
from relay.store.server import connection as module
from relay.store.server.connection import connect
from relay.store.server.errors import store_errors
from tests.conftest import start_valkey
from tests.unit.test_settings import settings

#: How long one request waits for its answer, in seconds.
WAIT_S = 1.0


def command(client, _scripts):
    with store_errors():
        client.hget("relay:{0}:x", "y")


def script(_client, scripts):
    scripts.run("read", [])


@pytest.mark.parametrize(("ask", "waits"), [(command, 1), (script, 3)], ids=["command", "script"])
@pytest.mark.parametrize("idle", [False, True])  # before the first command after a while, redis-py sends a PING
def test_a_request_waits_once_and_a_script_three_times(tmp_path, monkeypatch, ask, waits, idle):
    monkeypatch.setattr(module, "_SOCKET_TIMEOUT_S", WAIT_S)
    server = start_valkey(tmp_path)
    try:
        with connect(settings(REDIS_URL=f"redis://127.0.0.1:{server.port}/0")) as client:
            load_into(client)
            scripts = Scripts(client)
            ask(client, scripts)
            if idle:
                for connection in (*client.connection_pool._available_connections, *_kept(scripts)):
                    connection.next_health_check = 0
            os.kill(server._process.pid, signal.SIGSTOP)
            for _ in range(2):  # the second connects anew
                began_s = time.monotonic()
                with pytest.raises(Unavailable):
                    ask(client, scripts)
                assert time.monotonic() - began_s < (waits + 1.5) * WAIT_S
            os.kill(server._process.pid, signal.SIGCONT)
            ask(client, scripts)
    finally:
        os.kill(server._process.pid, signal.SIGCONT)
        server.terminate()


def _kept(scripts):
    return [client.connection for client in scripts._kept]
