"""What a process waits for if its single server is frozen: it takes requests and connections, and answers none."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from relay.errors import Unavailable
from relay.store.api_keys import keys
from relay.store.decisions.decisions import AGE_S
from relay.store.scripting.loading import load_into
from relay.store.scripting.scripts import Scripts
from relay.store.server import connection as module
from relay.store.server.connection import connect
from relay.store.server.errors import store_errors
from relay.vault import Vault
from relay.wiring.runtime import cli_runtime
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
@pytest.mark.parametrize("scheme", ["redis", "unix"])
@pytest.mark.parametrize("idle", [False, True])  # before the first command after a while, redis-py sends a PING
def test_a_request_waits_once_and_a_script_three_times(tmp_path, monkeypatch, ask, waits, idle, scheme):
    monkeypatch.setattr(module, "_SOCKET_TIMEOUT_S", WAIT_S)
    server = start_valkey(tmp_path)
    try:
        url = f"redis://127.0.0.1:{server.port}/0" if scheme == "redis" else f"unix://{tmp_path}/s"
        with connect(settings(REDIS_URL=url)) as client:
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
            for number in range(20):  # no connection has the reply to an earlier command
                assert client.echo(str(number)) == str(number).encode()
    finally:
        os.kill(server._process.pid, signal.SIGCONT)
        server.terminate()


def _kept(scripts):
    return [client.connection for client in scripts._kept]


def test_callers_whose_keys_are_to_be_read_wait_together_and_later_ones_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SOCKET_TIMEOUT_S", WAIT_S)
    monkeypatch.setattr(keys, "KEY_AGE_S", 0.0)
    server = start_valkey(tmp_path)
    try:
        runtime = cli_runtime(
            settings(
                TARGET_KEYS=Vault.new_key_text(),
                DATA_KEYS=Vault.new_key_text(),
                REDIS_URL=f"redis://127.0.0.1:{server.port}/0",
            )
        )
        text, _ = runtime.api_keys.create("acme", ["trigger"])
        waits_s = []
        time.sleep(AGE_S)  # after that, the decisions are read again, too

        def authenticate():
            began_s = time.monotonic()
            with pytest.raises(Unavailable):
                runtime.api_keys.authenticate(text)
            waits_s.append(time.monotonic() - began_s)

        os.kill(server._process.pid, signal.SIGSTOP)
        together = [threading.Thread(target=authenticate) for _ in range(20)]
        for each in together:
            each.start()
        for each in together:
            each.join()
        assert len(waits_s) == 20
        assert max(waits_s) < 3.5 * WAIT_S
        asking = threading.Thread(target=authenticate)
        asking.start()
        time.sleep(WAIT_S / 5)
        authenticate()
        assert waits_s[-1] < 0.75 * WAIT_S  # with the one that asks, it would be 0.8
        asking.join()
        os.kill(server._process.pid, signal.SIGCONT)
        assert runtime.api_keys.authenticate(text).plugin == "acme"
        runtime.close()
    finally:
        os.kill(server._process.pid, signal.SIGCONT)
        server.terminate()
