"""A backup under load, more load, a disaster, a restore and more load: no endpoint gets an unrepeatable call twice."""

from __future__ import annotations

import itertools
import json
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress

import pytest
from click.testing import CliRunner

from relay.accept.intake import TriggerRequest
from relay.cli import main
from relay.domain.invocation import Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.errors import RelayError, Unavailable
from relay.store.ledger.listing import Filter
from relay.store.replays.runs import Request
from tests.cluster.servers import cluster
from tests.integration.worker_harness import WorkerHarness
from tests.processes import signal_group
from tests.receivers import json_answer, receiver, slow
from tests.timing import wait_until

PLUGINS = tuple(f"plugin-{number}" for number in range(6))  # on a cluster, in several partitions
KEYS = ("RELAY_TARGET_KEYS", "RELAY_DATA_KEYS")
ORIGINALS = 150
WITHIN_S = 90
#: Paused while the backup is taken, so that some calls are not final, however fast the machine is.
HELD = (("plugin-0", "put"), ("plugin-1", "post"))


def webhooks(origin):
    post = {"url": f"{origin}/post", "method": "POST"}
    return [
        {"id": "told", "url": f"{origin}/told", "method": "POST", "hidden": True},
        {"id": "post", **post, "callback": "told"},
        {"id": "put", "url": f"{origin}/put", "method": "PUT"},
        {"id": "again", "url": f"{origin}/again", "method": "POST"},
        {"id": "retried", "url": f"{origin}/retried", "method": "POST", "retry": {"attempts": 3}},
        {"id": "chain", "steps": [{"webhook": "put", "data": "input.data"}, {"webhook": "post", "data": "input.data"}]},
        {"id": "safe-chain", "steps": [{"webhook": "put", "data": "input.data"}] * 2},
    ]


class Life(WorkerHarness):
    """A relay with its servers, until it is lost."""

    def __init__(self, directory, **settings):
        super().__init__(directory, **settings)
        self.directory = directory

    def command(self, *arguments, text=None):
        command = ["--data-dir", str(self.directory), *arguments, "--output", "json"]
        return CliRunner().invoke(main, command, input=text, env=self.environ, catch_exceptions=False)

    def run(self, *arguments, text=None):
        done = self.command(*arguments, text=text)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    def call(self, plugin, webhook, number, **more):
        value = {"data": {"n": number, "path": webhook}, **more}
        return self.runtime.dispatcher.trigger(
            TriggerRequest(plugin, webhook, value, new_reference_id(plugin), "k1")
        ).reference_id

    def steer(self, verb):
        """Pause or resume the webhooks that are held during the backup."""
        for plugin, webhook in HELD:
            self.run("webhooks", verb, webhook, "--plugin", plugin)

    def knows(self, reference_id):
        return bool(self.runtime.client.exists(self.runtime.keyspace.of_ref("record", reference_id)))

    def kill_workers(self):
        for process in self.workers:
            signal_group(process, signal.SIGKILL)
            process.wait(10)
        self.workers.clear()


class Load:
    """Triggers every webhook of every plugin in turn; no two triggers have the same number."""

    KINDS = (("post", {}), ("put", {}), ("chain", {}), ("post", {"delay": 2}), ("retried", {}), ("safe-chain", {}))

    def __init__(self):
        self._numbers = itertools.count()
        self.accepted = []

    @contextmanager
    def on(self, life):
        stopped = threading.Event()

        def go_on():
            for number in self._numbers:
                webhook, more = self.KINDS[number % len(self.KINDS)]
                with suppress(RelayError):
                    self.accepted.append(life.call(PLUGINS[number // 7 % len(PLUGINS)], webhook, number, **more))
                if stopped.wait(0.004):
                    return

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield self
        finally:
            stopped.set()
            thread.join()


@pytest.fixture(params=["single", "cluster"])
def lives(request, tmp_path_factory):
    """A function that starts a relay on empty servers, with the same key rings each time; of clusters, other sizes."""
    keys, sizes = {}, iter((3, 2))
    with ExitStack() as stack:

        def begin():
            more = {}
            if request.param == "cluster":
                servers = stack.enter_context(cluster(next(sizes)))
                servers.spare_the_disk()
                more = {"RELAY_STORE_URL": servers.url}
            life = Life(tmp_path_factory.mktemp("life"), **keys, **more)
            stack.callback(life.close)
            keys.update({name: life.environ[name] for name in KEYS})
            return life

        yield begin


def endpoint():
    answered = slow(0.25, json_answer({"ok": True}))
    busy, failed = json_answer({}, 503), json_answer({}, 404)
    seen = Counter()

    def script(connection, request):
        if request.target == "/retried":
            seen[request.header("webhook-id")] += 1
            return (busy if seen[request.header("webhook-id")] == 1 else answered)(connection, request)
        return (failed if request.target == "/again" else answered)(connection, request)

    return receiver(script)


def received(served):
    """Return how often each unrepeatable call was received: by id, and by what it is about."""
    posts = [request for request in list(served.requests) if request.method == "POST"]
    by_id = Counter((each.target, each.header("webhook-id")) for each in posts)
    about = Counter((each.target, json.loads(each.body).get("n")) for each in posts if each.target != "/told")
    return by_id, about


def check_receipts(served):
    """Check that no unrepeatable call was received twice, except for a status that its registration retries."""
    by_id, about = received(served)
    twice = {name for name, count in by_id.items() if count > 1 and name[0] != "/retried"}
    assert twice == set()
    assert {name: count for name, count in by_id.items() if count > 2} == {}  # a status that is listed for retries
    limits = {"/again": 2, "/retried": 2}  # of /again the original and its one replay
    assert {name: count for name, count in about.items() if count > limits.get(name[0], 1)} == {}


@pytest.mark.timeout(300)
def test_no_unrepeatable_call_is_received_twice_after_a_restore(lives, tmp_path):
    with endpoint() as served:
        first, load = lives(), Load()
        for plugin in PLUGINS:
            first.register(*webhooks(f"http://127.0.0.1:{served.port}"), plugin=plugin)
        first.start_worker()
        originals = [first.call("plugin-1", "again", -1 - number) for number in range(ORIGINALS)]
        first.finals(originals)
        with load.on(first):
            wait_until(lambda: len(load.accepted) > 150, WITHIN_S)
            job = first.runtime.replays.start(
                "plugin-1", Request(filter=Filter(webhook_id="again"), rate_per_second=5), caller="k1"
            ).replay_id
            wait_until(lambda: first.runtime.replay_store.get("plugin-1", job).started > 5, WITHIN_S)
            first.steer("pause")
            held = len(load.accepted) + 90
            wait_until(lambda: len(load.accepted) > held, WITHIN_S)
            backup = first.run("backup", str(tmp_path / "backup"))
            first.steer("resume")
            at_backup = set(load.accepted)
            wait_until(lambda: len(load.accepted) > len(at_backup) + 200, WITHIN_S)
        wait_until(lambda: first.runtime.replay_store.get("plugin-1", job).started > 10, WITHIN_S)
        first.kill_workers()  # the disaster
        before = received(served)

        second = lives()
        second.start_worker()
        plan = second.run("restore", str(tmp_path / "backup"))
        assert {name: plan[name] for name in ("plugins", "records", "pending")} == {
            name: backup[name] for name in ("plugins", "records", "pending")
        }
        assert plan["unfinished"]["replays"] == [job]
        with pytest.raises(Unavailable, match="restored from a backup"):
            second.call("plugin-0", "post", -1_000_000)
        time.sleep(2.5)  # sweeps and delays go by
        assert received(served) == before
        done = second.run("restore", "finish")
        second.steer("resume")
        with load.on(second):
            wait_until(lambda: len(load.accepted) > len(at_backup) + 600, WITHIN_S)
        known = [ref for ref in load.accepted if second.knows(ref)]
        records = second.finals(known, WITHIN_S)

    check_receipts(served)
    restored = [each for each in records if each.outcome is Outcome.RESTORED]
    assert done["ended"] >= len(restored) > 10
    assert {each.state for each in restored} == {State.INTERRUPTED}
    assert all(each.attempts[-1].sent is Sent.MAYBE for each in restored if not each.is_chain)
    went_on = [
        each for each in records if any(a.outcome is Outcome.RESTORED for a in each.attempts) and each not in restored
    ]
    assert went_on
    assert {each.webhook_id for each in went_on} == {"put"}
    assert {each.state for each in records if each.webhook_id in {"put", "safe-chain"}} <= {
        State.DELIVERED,
        State.INTERRUPTED,
    }
    over = second.runtime.replay_store.get("plugin-1", job)
    assert over.over
    assert over.skipped_reasons["restored"] > 0
    assert over.matched == over.delivered + over.failed + over.skipped
