"""A running API process on a separate Valkey, and a simulated worker that ends calls without sending them."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import redis
import requests

from bench.ports import free_port
from relay.answer.results import Result, json_data
from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.queue import LANES as EVERY_LANE
from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.store.ledger.transitions import Settlement
from relay.vault import Vault, result_owner
from relay.wiring.runtime import cli_runtime
from tests.conftest import own_valkey
from tests.forked_processes import start_forked
from tests.timing import ANSWER_S

LANES = ("interactive", "bulk")
HOOKS = """
{id: "order", url: "https://hook.example.com/orders", method: "POST", headers: {"X-Locale": null},
 queryParams: ["lang"]}
{id: "read", url: "https://hook.example.com/orders", method: "GET"}
{id: "inner", url: "https://hook.example.com/login", method: "POST", hidden: true}
"""


def environ_for(redis_url, **more):
    return {
        "RELAY_REDIS_URL": redis_url,
        "RELAY_TARGET_KEYS": Vault.new_key_text(),
        "RELAY_DATA_KEYS": Vault.new_key_text(),
        **more,
    }


class ApiHarness:
    """What a test of the API needs: its address, API keys of two plugins, and its store."""

    def __init__(self, environ, port, process):
        self.port = port
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.runtime = cli_runtime(Settings.from_environ(environ))
        self.store = self.runtime.store
        broker = environ.get("RELAY_BROKER_URL") or environ["RELAY_REDIS_URL"]
        self.queue = redis.Redis.from_url(broker, socket_timeout=ANSWER_S)
        self.register("acme", HOOKS)
        self.register("other", '{id: "theirs", url: "https://hook.example.com/t", method: "POST"}')
        keys = self.runtime.api_keys
        self.key, self.key_row = keys.create("acme", ["trigger"], ["https://app.example.com"])
        self.operator_key, _ = keys.create("acme", ["operate"])
        self.foreign_key, _ = keys.create("other", ["trigger", "operate"], ["https://other.example.com"])

    def register(self, plugin, text):
        self.runtime.registry.apply(plugin, read_registrations(text, self.runtime.rules, plugin=plugin)[1])

    def close(self):
        self.runtime.close()
        self.queue.close()

    def beat(self, worker, *lanes):
        """Write the heartbeat of a worker that serves these lanes."""
        self.runtime.workers.beat(worker, lanes)

    def call(self, method, path, *, key=None, timeout=30, **how):
        headers = {"Authorization": f"Bearer {key or self.key}", **how.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=timeout, **how)

    def trigger(self, webhook="order", *, body=None, prefer=None, **how):
        headers = {**({"Prefer": prefer} if prefer else {}), **how.pop("headers", {})}
        value = {} if body is None else body
        return self.call("POST", f"/v1/webhooks/{webhook}/trigger", json=value, headers=headers, **how)

    def raw(self, request, wait_s=2.0):
        """Send raw bytes; return what comes back."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(request)
            connection.settimeout(wait_s)
            answer = b""
            while b"\r\n\r\n" not in answer or not _complete(answer):
                try:
                    piece = connection.recv(65536)
                except TimeoutError:
                    break
                if not piece:
                    break
                answer += piece
        return answer

    def taken(self, lanes=LANES, wait_s=5.0):
        """Take the next message of a lane; return the reference ids that wait there."""
        found = self.queue.brpop(lanes, timeout=wait_s)
        assert found, "no message came"
        return self._waiting(found[1])

    def _waiting(self, message):
        (lane, partition), _, _ = json.loads(base64.b64decode(json.loads(message)["body"]))
        return self.store.waiting.take(partition, [lane], most=1_000).reference_ids

    def drain(self):
        """Forget the messages of all lanes, and the calls that wait there."""
        self.queue.delete(*EVERY_LANE)
        while self.store.waiting.take(0, EVERY_LANE, most=1_000).reference_ids:
            pass

    def settle(self, reference_ids, *, status=200, data=None, outcome=Outcome.ANSWERED, state=State.DELIVERED):
        """Claim and settle invocations, as a worker would."""
        token = f"t-{time.monotonic_ns()}"
        granted = self.store.claim(reference_ids, token).granted
        sealed = {}
        if outcome is Outcome.ANSWERED:
            raw = json_data(Result(status, data, error=False))
            sealed = {ref: self.runtime.data_vault.seal(raw, result_owner("acme", ref)) for ref in granted}
        sent = Sent.ANSWERED if outcome is Outcome.ANSWERED else Sent.NO
        with_result = state in {State.DELIVERED, State.UNREACHABLE, State.INTERRUPTED}
        attempt = Attempt(1, 1_700_000_000_000, 5, status, outcome, sent) if with_result else None
        self.store.settle(
            [
                Settlement(
                    reference_id=ref,
                    claim_token=token,
                    state=state,
                    outcome=outcome,
                    status=status if with_result else None,
                    error=(status >= 400 or status == 0) if with_result else None,
                    attempt=attempt,
                    result=sealed.get(ref, b""),
                )
                for ref in granted
            ]
        )

    @contextmanager
    def hand_worker(self, *, delay_s=0.0, **ending):
        """Settle every call that waits until the context ends; yield the groups that were taken."""
        stop, messages = threading.Event(), []

        def work():
            while not stop.is_set():
                self.beat("hand", *LANES)
                found = self.queue.brpop(LANES, timeout=0.2)
                ids = self._waiting(found[1]) if found else []
                if ids:
                    messages.append(ids)
                    time.sleep(delay_s)
                    self.settle(ids, **ending)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield messages
        finally:
            stop.set()
            worker.join()


def _complete(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return False


@contextmanager
def own_api(*, threads=96, log=None, **settings):
    """Run the API with these settings and a server of its own."""
    with own_valkey() as server:
        environ = environ_for(f"redis://127.0.0.1:{server.port}/0", **settings)
        with running_api(environ, threads=threads, log=log) as harness:
            harness.server = server
            yield harness


@contextmanager
def running_api(environ, *, threads=96, log=None, **own):
    """Run the API as in production, until the context ends; ``own`` are settings that only its process has."""
    port = free_port()
    command = [
        *("granian", "--interface", "wsgi", "--port", str(port), "--workers", "1"),
        *("--blocking-threads", str(threads), "--http", "1", "--no-ws", "api.wsgi:app"),
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    ours = {name: value for name, value in environ.items() if name != "RELAY_TARGET_KEYS"} | own
    with nullcontext(log) if log else Path(os.devnull).open("wb") as output:
        process = start_forked(command, inherited | ours, [output.fileno(), output.fileno()])
    try:
        _await_health(process, port)
        harness = ApiHarness(environ, port, process)
        try:
            yield harness
        finally:
            harness.close()
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _await_health(process, port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the API ended at once"
        try:
            if requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.05)
    raise AssertionError("the API did not start")
