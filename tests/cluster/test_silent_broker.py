"""A broker of its own is a hint in every state: nobody waits for it, calls are run without it, nothing is sent twice."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from bench.ports import free_port
from relay.domain.invocation import State
from relay.queue import LANES
from tests.cluster.brokers import rabbitmq
from tests.cluster.sentinels import sentinels
from tests.conftest import start_valkey
from tests.integration.worker_harness import hook, worker_harness
from tests.processes import signal_group
from tests.receivers import json_answer, once_set, receiver
from tests.timing import BUSY_S, wait_until

#: How long a trigger may take, in seconds, and how long until its call is run, on a machine that is not busy.
ACCEPTED_S, RUN_S = 1.0, 10.0
CALLS = 20
#: How long a broker is harmed before a worker is told to stop, in seconds: by then it has sent Celery's heartbeat to it.
HARMED_S = 4.0
#: How long a stopping worker lets its calls end, in seconds.
STOP_TIMEOUT_S = 30


class RedisBroker:
    """A separate server as a broker, in whatever state."""

    def __init__(self):
        self._directory = Path(tempfile.mkdtemp(prefix="rlb"))
        self._port = free_port()
        self._start()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def _start(self):
        self._server = start_valkey(self._directory, port=self._port)

    def _tell(self, *command):
        with redis.Redis(port=self._port) as client:
            client.execute_command(*command)

    def freeze(self):
        os.kill(self._server._process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self._server._process.pid, signal.SIGCONT)

    def kill(self):
        os.kill(self._server._process.pid, signal.SIGKILL)
        self._server._process.wait()

    def restart(self):
        self._start()

    def fill(self):
        self._tell("CONFIG", "SET", "maxmemory", "1")

    def empty(self):
        self._tell("CONFIG", "SET", "maxmemory", "0")

    def forbid(self):
        self._tell("ACL", "SETUSER", "default", "-@list", "-@write")

    def allow(self):
        self._tell("ACL", "SETUSER", "default", "+@all")

    def close(self):
        self._server.terminate()
        shutil.rmtree(self._directory, ignore_errors=True)


class FreezableRabbitMQ:
    """A RabbitMQ that can also be frozen."""

    def __init__(self, broker):
        self._broker, self.url = broker, broker.url

    def freeze(self):
        signal_group(self._broker._process, signal.SIGSTOP)

    def thaw(self):
        signal_group(self._broker._process, signal.SIGCONT)

    def kill(self):
        self._broker.kill()

    def restart(self):
        self._broker.start()


class SentinelBroker:
    """A primary that Sentinels name, without anything that could take over."""

    def __init__(self, found):
        self._found, self.url = found, found.url.replace("redis+sentinel", "sentinel")

    def freeze(self):
        os.kill(self._found.servers[0]._process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self._found.servers[0]._process.pid, signal.SIGCONT)


@contextmanager
def redis_broker():
    broker = RedisBroker()
    try:
        yield broker
    finally:
        broker.close()


@contextmanager
def rabbitmq_broker():
    with rabbitmq() as broker:
        yield FreezableRabbitMQ(broker)


@contextmanager
def sentinel_broker():
    with sentinels(replicas=0) as found:
        yield SentinelBroker(found)


STATES = [
    (redis_broker, "freeze", "thaw"),
    (redis_broker, "kill", "restart"),
    (redis_broker, "fill", "empty"),
    (redis_broker, "forbid", "allow"),
    (rabbitmq_broker, "freeze", "thaw"),
    (rabbitmq_broker, "kill", "restart"),
    (sentinel_broker, "freeze", "thaw"),
]


every_state = pytest.mark.parametrize(
    ("kind", "harm", "mend"), STATES, ids=[f"{kind.__name__}-{harm}" for kind, harm, _ in STATES]
)


@pytest.mark.timeout(400)
@every_state
def test_calls_are_accepted_and_run_whatever_their_broker_does(kind, harm, mend, tmp_path_factory):
    with (
        kind() as broker,
        worker_harness(tmp_path_factory, RELAY_BROKER_URL=broker.url) as harness,
        receiver(json_answer({"ok": True})) as endpoint,
    ):
        harness.register(hook(endpoint.url))
        harness.start_worker("bulk")
        refs = [harness.trigger() for _ in range(CALLS)]
        harness.finals(refs)
        getattr(broker, harm)()
        slowest_s, began_s = 0.0, time.monotonic()
        for _ in range(CALLS):
            asked_s = time.monotonic()
            refs.append(harness.trigger())
            slowest_s = max(slowest_s, time.monotonic() - asked_s)
        harness.finals(refs)
        run_s = time.monotonic() - began_s
        assert harness.runtime.workers.alive(), "the worker counts as dead, although it works"
        getattr(broker, mend)()
        refs += [harness.trigger() for _ in range(CALLS)]
        harness.finals(refs)
        wait_until(lambda: harness.runtime.publisher.depths() == dict.fromkeys(LANES, 0))
        assert {Counter(each.header("webhook-id") for each in endpoint.requests)[ref] for ref in refs} == {1}
        assert slowest_s < ACCEPTED_S + BUSY_S / 2
        assert run_s < RUN_S + 2 * BUSY_S


@every_state
def test_a_worker_that_is_told_to_stop_lets_its_calls_end_whatever_its_broker_does(kind, harm, mend, tmp_path_factory):
    go_on = threading.Event()
    with (
        kind() as broker,
        worker_harness(
            tmp_path_factory, RELAY_BROKER_URL=broker.url, RELAY_STOP_TIMEOUT=str(STOP_TIMEOUT_S)
        ) as harness,
        receiver(once_set(go_on, json_answer({"ok": True}))) as endpoint,
    ):
        harness.register(hook(endpoint.url))
        worker = harness.start_worker("bulk")
        ref = harness.trigger()
        endpoint.wait_for(1)
        getattr(broker, harm)()
        time.sleep(HARMED_S)
        signal_group(worker, signal.SIGTERM)
        time.sleep(1.0)
        go_on.set()
        assert worker.wait(STOP_TIMEOUT_S) == 0
        assert harness.record(ref).state is State.DELIVERED
        getattr(broker, mend)()
