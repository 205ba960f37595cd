"""One fault at a time: each process, and the server, is killed, ended, frozen or restarted, and all promises hold."""

from __future__ import annotations

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.store.health.readiness import Probe, probe
from relay.wiring.runtime import cli_runtime
from tests.chaos.harness import Harness, wait_for
from tests.chaos.plan import LEASE_MARGIN_S
from tests.receivers import json_answer, receiver, slow
from tests.timing import BUSY_S, least

PLUGIN = "acme"
TIMEOUT_S = 3  # the timeout of every webhook
LEASE_S = TIMEOUT_S + LEASE_MARGIN_S
TAKEN_UP_S = 5.0  # how long after its lease's end a call may wait to be claimed again
ANSWER_S = 1.5  # how long the endpoint takes to answer
NOISE_S = BUSY_S  # a call that would wait this long is ended earlier by its lease or the endpoint
MANY = 200  # how many connections at once

pytestmark = pytest.mark.timeout(180)


class Relay:
    """A harness with webhooks of a slow endpoint, and a caller."""

    def __init__(self, harness, endpoint):
        self.harness = harness
        self.endpoint = endpoint
        runtime = cli_runtime(Settings.from_environ(harness.environ))
        at = endpoint.url
        hooks = [
            {"id": "post", "url": at, "method": "POST", "timeout": TIMEOUT_S},
            {"id": "put", "url": at, "method": "PUT", "timeout": TIMEOUT_S},
            # Its calls wait for one of 100 places, and each has time enough even on a busy machine.
            {"id": "patient", "url": at, "method": "POST", "timeout": 30, "concurrency": 100},
            {"id": "capped", "url": at, "method": "POST", "timeout": TIMEOUT_S, "concurrency": 2},
        ]
        runtime.registry.apply(PLUGIN, read_registrations(json.dumps(hooks), runtime.rules, plugin=PLUGIN)[1])
        self.policies = runtime.policies
        self.hooks = [hook["id"] for hook in hooks]
        self.key, _ = runtime.api_keys.create(PLUGIN, ["trigger", "operate"], [])

    def call(self, hook, prefer="respond-async", timeout=30):
        headers = {"Authorization": f"Bearer {self.key}", "Prefer": prefer}
        url = f"{self.harness.url}/v1/webhooks/{hook}/trigger"
        return requests.post(url, json={"data": {}}, headers=headers, timeout=timeout)

    def bulk(self, hook, count):
        headers = {"Authorization": f"Bearer {self.key}"}
        items = [{"webhookId": hook, "data": {"n": n}} for n in range(count)]
        answer = requests.post(f"{self.harness.url}/v1/triggers", json=items, headers=headers, timeout=30)
        return [each["referenceId"] for each in answer.json()["results"]]

    def records(self, refs):
        pipeline = self.harness.client.pipeline(transaction=False)
        for ref in refs:
            pipeline.hmget(f"relay:{{0}}:inv:{ref}", "state", "finishedAt")
        return [(state.decode(), int(at or 0)) for state, at in pipeline.execute()]

    def states(self, refs):
        return [state for state, _ in self.records(refs)]

    def await_end(self, refs, within_s):
        wait_for(lambda: all(at for _, at in self.records(refs)), "an end", self.harness.last_words, within_s)
        return self.states(refs)

    def sending(self, refs):
        return self.states(refs).count("sending")

    def received(self, refs):
        return sum(self.endpoint.receipts[ref] for ref in refs)

    def part(self, name):
        return self.harness.parts[name]

    def heard_of_bulk_at_ms(self):
        """Return the time of the last heartbeat of a bulk worker, in milliseconds of the server's clock."""
        beats = self.harness.client.zrange("relay:{shared}:workers", 0, -1, withscores=True)
        return max(at_ms for name, at_ms in beats if name.startswith(b"bulk"))

    def close_breakers(self):
        """Close the breakers, which twenty interrupted calls in a row have opened."""
        for hook in self.hooks:
            self.policies.close_breaker(PLUGIN, hook)

    def take_down(self, name, number):
        """End a process, and keep the harness from starting it again."""
        self.harness.down.add(name)
        self.part(name).signal(number, group=False)

    def bring_up(self, name):
        self.part(name).kill()
        self.part(name).start()
        self.harness.down.discard(name)

    def restart_server(self, number, pause_s=0.0):
        self.harness.down.add("valkey")
        server = self.part("valkey")
        server.signal(number)
        server.wait(30)
        time.sleep(pause_s)
        server.start()
        self.harness.down.discard("valkey")
        wait_for(lambda: probe(self.harness.redis_url) is Probe.READY, "the server")


@pytest.fixture(scope="module")
def relay():
    with receiver(slow(ANSWER_S, json_answer({"ok": True}))) as endpoint, Harness(bulk_workers=2) as harness:
        yield Relay(harness, endpoint)


@pytest.fixture(autouse=True)
def whole_again(relay):
    yield
    for name, part in relay.harness.parts.items():
        part.signal(signal.SIGCONT)
        if name in relay.harness.down:
            relay.bring_up(name)
    wait_for(relay.harness.is_ready, "the relay", relay.harness.last_words)
    relay.close_breakers()


BULK = ("worker_bulk", "worker_bulk2")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["a planned restart", "kill -9"])
def test_no_worker_is_idle_after_the_server_was_restarted_under_load(relay, number):
    refs = relay.bulk("post", MANY)
    wait_for(lambda: relay.sending(refs) > MANY // 2, "hundreds of open sockets", within_s=20)
    relay.restart_server(number, pause_s=1.0)
    relay.await_end(refs, within_s=60)
    relay.close_breakers()
    for worker in BULK:  # each of them alone
        others = [relay.part(name) for name in BULK if name != worker]
        for other in others:
            other.signal(signal.SIGSTOP)
        try:
            assert set(relay.await_end(relay.bulk("patient", 20), within_s=30)) == {"delivered"}, worker
        finally:
            for other in others:
                other.signal(signal.SIGCONT)


def test_the_api_says_503_at_once_while_the_server_is_away_and_recovers_by_itself(relay):
    relay.harness.down.add("valkey")
    relay.part("valkey").kill()
    try:
        started_s = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            replies = list(pool.map(lambda _: relay.call("post"), range(16)))
        assert time.monotonic() - started_s < 2 + NOISE_S
        assert {reply.status_code for reply in replies} == {503}
        assert all(int(reply.headers["Retry-After"]) >= 1 for reply in replies)
        assert {reply.json()["code"] for reply in replies} == {"unavailable"}
    finally:
        relay.part("valkey").start()
        relay.harness.down.discard("valkey")
    wait_for(lambda: relay.call("post", prefer="wait=20").status_code == 200, "recovery", within_s=30)


def test_who_awaits_while_the_server_dies_is_answered_or_told_to_poll_within_the_wait(relay):
    with ThreadPoolExecutor(16) as pool:
        started_s = time.monotonic()
        waiting = [pool.submit(lambda: (relay.call("post", prefer="wait=4"), time.monotonic())) for _ in range(16)]
        time.sleep(0.5)
        relay.restart_server(signal.SIGKILL, pause_s=0.5)
        replies = [each.result() for each in waiting]
    accepted = [(reply, at_s) for reply, at_s in replies if reply.status_code != 503]
    assert {reply.status_code for reply, _ in accepted} <= {200, 202}
    assert accepted
    assert max(at_s for _, at_s in replies) - started_s < 4 + NOISE_S


def test_sigterm_lets_all_running_calls_end(relay):
    relay.take_down("worker_bulk2", signal.SIGTERM)
    relay.part("worker_bulk2").wait(20)
    refs = relay.bulk("post", 20)
    wait_for(lambda: relay.received(refs) == 20, "20 running calls", within_s=20)  # what is not sent is given back
    relay.take_down("worker_bulk", signal.SIGTERM)
    assert relay.part("worker_bulk").wait(15) == 0
    assert relay.states(refs) == ["delivered"] * 20


def test_a_stopping_worker_takes_no_more_and_leaves_the_rest_to_others(relay):
    refs = relay.bulk("patient", 500)
    wait_for(lambda: relay.sending(refs) > 50, "running calls", within_s=20)
    relay.take_down("worker_bulk", signal.SIGTERM)
    assert relay.part("worker_bulk").wait(20) == 0
    assert set(relay.await_end(refs, within_s=60)) == {"delivered"}
    assert all(count == 1 for ref, count in relay.endpoint.receipts.items() if ref in set(refs))


def test_a_worker_that_is_told_to_stop_while_the_server_is_away_ends(relay):
    time.sleep(4)  # until every part of the process has used the server
    relay.take_down("valkey", signal.SIGKILL)
    time.sleep(4)  # until every part has noticed the fault
    relay.take_down("worker_bulk2", signal.SIGTERM)
    try:
        assert relay.part("worker_bulk2").wait(20) == 0
    finally:
        relay.bring_up("valkey")
        wait_for(lambda: probe(relay.harness.redis_url) is Probe.READY, "the server")


def test_a_second_signal_stops_hard_and_loses_nothing(relay):
    relay.take_down("worker_bulk2", signal.SIGTERM)
    relay.part("worker_bulk2").wait(20)
    posts, puts = relay.bulk("post", 10), relay.bulk("put", 10)
    wait_for(lambda: relay.sending(posts + puts) == 20, "20 running calls", within_s=20)
    relay.take_down("worker_bulk", signal.SIGTERM)
    time.sleep(0.3)
    started_s = time.monotonic()
    relay.part("worker_bulk").signal(signal.SIGTERM, group=False)
    relay.part("worker_bulk").wait(20)
    assert time.monotonic() - started_s < ANSWER_S - 0.3 + NOISE_S
    relay.bring_up("worker_bulk")
    relay.bring_up("worker_bulk2")
    assert set(relay.await_end(posts, within_s=LEASE_S + TAKEN_UP_S + NOISE_S)) <= {"interrupted", "delivered"}
    assert set(relay.await_end(puts, within_s=LEASE_S + 2 * TAKEN_UP_S)) == {"delivered"}
    assert all(relay.endpoint.receipts[ref] <= 1 for ref in posts)


def test_a_killed_worker_s_calls_are_taken_up_within_five_seconds_of_their_lease_s_end(relay):
    assert least(lambda: taken_up_after_s(relay), wanted=TAKEN_UP_S) < TAKEN_UP_S


def taken_up_after_s(relay):
    """Return how long after its lease's end the last call of killed workers waits, once another worker sweeps."""
    posts, puts = relay.bulk("post", 40), relay.bulk("put", 40)
    wait_for(lambda: relay.sending(posts + puts) == 80, "running calls", within_s=20)
    for name in BULK:
        relay.take_down(name, signal.SIGKILL)
    killed_ms = time.time() * 1000
    lease_ends = [int(relay.harness.client.hget(f"relay:{{0}}:inv:{ref}", "leaseEnd")) for ref in posts]
    relay.bring_up("worker_bulk")
    wait_for(lambda: relay.heard_of_bulk_at_ms() > killed_ms, "another worker")
    looks_from_ms = relay.heard_of_bulk_at_ms()
    assert set(relay.await_end(posts, within_s=LEASE_S + TAKEN_UP_S + NOISE_S)) == {"interrupted"}
    assert set(relay.await_end(puts, within_s=LEASE_S + TAKEN_UP_S + NOISE_S)) == {"delivered"}
    relay.bring_up("worker_bulk2")
    relay.close_breakers()
    ended = [at for _, at in relay.records(posts)]
    return max(end - max(lease, looks_from_ms) for end, lease in zip(ended, lease_ends, strict=True)) / 1000


def test_a_killed_worker_s_permits_free_themselves(relay):
    refs = relay.bulk("capped", 6)
    wait_for(lambda: relay.sending(refs) == 2, "a full webhook", within_s=20)
    for name in BULK:
        relay.take_down(name, signal.SIGKILL)
    for name in BULK:
        relay.bring_up(name)
    states = relay.await_end(refs, within_s=LEASE_S + TAKEN_UP_S + 2 * ANSWER_S + 2 * NOISE_S)
    assert sorted(states) == ["delivered"] * 4 + ["interrupted"] * 2


def test_a_worker_that_comes_back_from_a_stall_sends_nothing_that_was_taken_from_it(relay):
    refs = relay.bulk("post", 20)
    stalled = [relay.part(name) for name in BULK]
    wait_for(lambda: relay.sending(refs) == 20, "running calls", within_s=20)
    for part in stalled:
        part.signal(signal.SIGSTOP)
    time.sleep(LEASE_S + 0.5)
    for part in stalled:
        part.signal(signal.SIGCONT)
    states = relay.await_end(refs, within_s=TAKEN_UP_S + NOISE_S)
    assert set(states) <= {"interrupted", "delivered", "unreachable"}
    assert all(relay.endpoint.receipts[ref] <= 1 for ref in refs)


def test_a_worker_that_starts_alone_finds_what_was_accepted_while_none_ran(relay):
    for name in BULK:
        relay.take_down(name, signal.SIGKILL)
    refs = relay.bulk("put", 50)
    relay.harness.client.delete("bulk")  # every message is lost, too
    relay.bring_up("worker_bulk2")
    assert set(relay.await_end(refs, within_s=10 + ANSWER_S + NOISE_S)) == {"delivered"}


def test_many_callers_of_one_idempotency_key_cause_one_request(relay):
    headers = {"Authorization": f"Bearer {relay.key}", "Idempotency-Key": "once", "Prefer": "wait=10"}
    url = f"{relay.harness.url}/v1/webhooks/post/trigger"
    gate = threading.Barrier(50)

    def call(_):
        gate.wait()
        return requests.post(url, json={"data": {"n": 1}}, headers=headers, timeout=30).json()["referenceId"]

    with ThreadPoolExecutor(50) as pool:
        refs = set(pool.map(call, range(50)))
    assert len(refs) == 1
    assert relay.endpoint.receipts[refs.pop()] == 1
