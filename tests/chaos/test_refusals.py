"""A refusing server or a failing log, one fault at a time: all calls end, and new ones are served at once."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager, nullcontext

import pytest
import requests

from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.store.health.readiness import Probe, probe
from relay.store.keys import keyspace
from relay.wiring.runtime import cli_runtime
from tests.chaos.harness import Harness, wait_for
from tests.chaos.refusals import RIGHTS, Refusals
from tests.chaos.sinks import SINKS, Sink
from tests.receivers import json_answer, receiver
from tests.store_keys import KEYS

pytestmark = pytest.mark.timeout(240)

PLUGIN = "acme"
PAUSE_S = 0.06  # between two calls of a caller: each makes more than twenty during a fault
LASTS_S = 1.5  # longer than redis-py's own retries
MAX_ENDS_S = 40.0  # from a fault's end until every call has ended


@pytest.fixture(scope="module")
def relay():
    with relay_with("everysec") as relay:
        yield relay


@contextmanager
def relay_with(fsync):
    with receiver(json_answer({"ok": True})) as endpoint, Harness(fsync=fsync, bulk_workers=1) as harness:
        yield Relay(harness, endpoint)


class Relay:
    """A relay with one worker for each lane, and a caller that never stops."""

    def __init__(self, harness, endpoint):
        self.harness = harness
        self.refusals = Refusals(harness.redis_port)
        self.runtime = cli_runtime(Settings.from_environ(harness.environ))
        hooks = [
            {"id": "post", "url": endpoint.url, "method": "POST", "timeout": 3},
            {"id": "capped", "url": endpoint.url, "method": "PUT", "timeout": 3, "concurrency": 2},
            {"id": "chain", "steps": [{"webhook": "post"}, {"webhook": "capped"}]},
        ]
        self.runtime.registry.apply(PLUGIN, read_registrations(json.dumps(hooks), self.runtime.rules, plugin=PLUGIN)[1])
        self.key, _ = self.runtime.api_keys.create(PLUGIN, ["trigger", "operate"], [])

    def trigger(self, hook, prefer):
        headers = {"Authorization": f"Bearer {self.key}", "Prefer": prefer}
        url = f"{self.harness.url}/v1/webhooks/{hook}/trigger"
        return requests.post(url, json={"data": {}}, headers=headers, timeout=30)

    @contextmanager
    def traffic(self):
        """Make calls of every kind while the context lasts; yield the statuses that the callers were told."""
        told, ending = [], threading.Event()

        def call(hook, prefer):
            while not ending.wait(PAUSE_S):
                try:
                    told.append(self.trigger(hook, prefer).status_code)
                except requests.RequestException:
                    told.append(None)  # the API itself was restarted

        kinds = [("post", "wait=5"), ("capped", "respond-async"), ("chain", "respond-async")]
        threads = [threading.Thread(target=call, args=kind) for kind in kinds]
        for thread in threads:
            thread.start()
        try:
            yield told
        finally:
            ending.set()
            for thread in threads:
                thread.join()

    def is_over(self):
        try:
            pending = int(self.runtime.client.hget(KEYS.pending(), "count") or 0)
            places = sum(self.runtime.client.zcard(KEYS.running(PLUGIN, hook)) for hook in ("post", "capped", "chain"))
        except Exception:  # noqa: BLE001 - the server is not back yet
            return False
        return pending == places == 0

    def bear(self, fault):
        """Check traffic before, during and after ``fault``: nothing is left behind, new calls are served at once."""
        with self.traffic() as told:
            time.sleep(0.3)
            with fault:
                time.sleep(LASTS_S)
            wait_for(lambda: probe(self.harness.redis_url) is Probe.READY, "the server", self.harness.last_words)
        wait_for(self.is_over, "the end of all calls", self.harness.last_words, within_s=MAX_ENDS_S)
        assert set(told) <= {200, 202, 503, None}, "what is not now is 503"
        wait_for(
            lambda: self.trigger("post", "wait=10").status_code == 200, "a fresh call", self.harness.last_words, 20
        )


@pytest.mark.parametrize("kind", ["without_replicas", "full", "busy"])
def test_what_a_server_refuses_for_a_while_leaves_nothing_behind(relay, kind):
    relay.bear(getattr(relay.refusals, kind)())


@pytest.mark.parametrize("rights", RIGHTS, ids=" ".join)
def test_rights_that_are_taken_away_for_a_while_leave_nothing_behind(relay, rights):
    relay.bear(relay.refusals.without_rights(rights))


def bear_a_full_disk(relay):
    """Bear a full disk; return whether the server survived."""
    pid = relay.harness.parts["valkey"].pid
    relay.bear(relay.refusals.full_disk(pid, relay.harness.append_only_file()))
    return relay.harness.parts["valkey"].pid == pid


def test_a_disk_that_is_full_for_a_while_leaves_nothing_behind(relay):
    assert bear_a_full_disk(relay)


def test_a_disk_that_is_full_under_always_ends_the_server_and_leaves_nothing_behind():
    with relay_with("always") as relay:
        assert not bear_a_full_disk(relay)


@pytest.fixture(scope="module")
def logging_parts(relay):
    """The parts that write logs; afterwards they are started anew, with logs that can be written to."""
    parts = [relay.harness.parts[name] for name in ("worker_bulk", "worker_interactive", "api")]
    yield parts
    start_anew(relay, parts)


@pytest.mark.parametrize("sink", SINKS)
def test_logs_that_cannot_be_written_to_stop_no_work(relay, logging_parts, sink):
    for part in logging_parts:
        part.log_to(Sink(sink))
    lives = start_anew(relay, logging_parts)
    relay.bear(nullcontext())
    assert [part.starts for part in logging_parts] == lives, "they lived on"


def start_anew(relay, parts):
    before = [part.starts for part in parts]
    relay.runtime.client.delete(keyspace.shared("workers"))
    for part in parts:
        part.kill()
    wait_for(lambda: all(part.starts > start for part, start in zip(parts, before, strict=True)), "their next lives")
    wait_for(relay.harness.is_ready, "the relay", relay.harness.last_words)
    return [part.starts for part in parts]
