"""The parts of one worker, wired by `relay.wiring.worker_runtime` in the test's process, with a real server and endpoint."""

from __future__ import annotations

import json
import time

import gevent

from relay.accept.intake import TriggerRequest
from relay.domain.reference_id import new_reference_id
from relay.executor import access_tokens
from relay.outbound import transport
from relay.process import loops
from relay.process.loops import Failures
from relay.queue import LANES, make_app
from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.store.partitions import number as partitions
from relay.store.scripting.loading import load_into
from relay.telemetry import log
from relay.vault import Vault
from relay.wiring import runtime, shared_runtime, worker_runtime
from tests.executor.faulty_parts import Faults, FaultyConnection, FaultyLanes, FaultyLog, FaultyRedis, SteppedRedis
from tests.store_keys import KEYS
from tests.timing import ANSWER_S

SLOTS = 4
PLUGIN = "acme"
RETRY_S = 0.001
QUIET_S = 60.0
#: How far the clock moves between two sweeps. A lost message is found after one step, a lost holder of a replay job
#: after two, and a lost call after six.
STEP_MS = 6_000
MOST_STEPS = 10


class OneWorker:
    """The only worker of its lanes. Each message runs in a greenlet, as in Celery's pool."""

    def __init__(self, server, monkeypatch):
        self.faults = FaultyRedis.faults = Faults()
        self.greenlets = []
        self._own = []
        self.client = server.client()
        self.settings = Settings.from_environ(
            {
                "RELAY_REDIS_URL": server.tcp_url,
                "RELAY_TARGET_KEYS": Vault.new_key_text(),
                "RELAY_DATA_KEYS": Vault.new_key_text(),
                "RELAY_EGRESS_ALLOW": "127.0.0.0/8",
                "RELAY_MAX_IN_FLIGHT": str(SLOTS),
            }
        )
        self.app = make_app(self.settings)
        self._now_ms = time.time_ns() // 1_000_000
        self.step(0)
        self._clients = []
        monkeypatch.setattr(partitions, "connect", lambda _settings: self._connect(server.url))
        monkeypatch.setattr(shared_runtime, "Publisher", lambda _app, waiting, **_: self.lanes.of(waiting))
        monkeypatch.setattr(loops, "RETRY_S", RETRY_S)
        for name, short_s in (("FRESH_S", 0.0), ("LOOK_S", 0.001), ("FETCH_LOCK_S", 0.1), ("FIRST_PAUSE_S", 0.01)):
            monkeypatch.setattr(access_tokens, name, short_s)
        monkeypatch.setattr(log._bound, "logger", FaultyLog(self.faults))
        monkeypatch.setattr(gevent, "spawn", self._spawn)
        shared = transport.CurlTransport(
            runtime.cli_runtime(self.settings).policy, max_response_bytes=1 << 20, max_in_flight=SLOTS
        )
        monkeypatch.setattr(worker_runtime, "CurlTransport", lambda *_, **__: shared)
        self.operators = runtime.cli_runtime(self.settings)
        # The operators' client does not fail.
        self.operators.client = SteppedRedis.from_url(server.url, socket_timeout=ANSWER_S, driver_info=None)
        load_into(self.operators.client)
        self.begin()

    def begin(self):
        """Start a new worker, which knows nothing of earlier calls."""
        self.faults.disarm()
        self._end()  # the one before
        self.lanes = FaultyLanes(self.faults)
        self.greenlets.clear()
        self.parts = worker_runtime.worker_parts(self.settings, self.app, "one@here", lanes=LANES)
        self.executor = self.parts.executor
        self._own = list(self.greenlets)  # those of the queues
        self.operators.dispatcher._publisher = self.lanes
        self.operators.replays._publish = self.lanes.publish_ready

    def close(self):
        self._end()
        self.client.close()

    def _end(self):
        """Kill the worker's greenlets: one that waits is never collected, nor are the connections that it refers to."""
        gevent.killall([*self._own, *self.greenlets])
        while self._clients:
            self._clients.pop().close()

    def _connect(self, url):
        self._clients.append(
            FaultyRedis.from_url(
                url,
                connection_class=FaultyConnection,
                max_connections=4_096,
                socket_timeout=ANSWER_S,
                driver_info=None,
            )
        )
        return self._clients[-1]

    # -- what operators and callers do --------------------------------------------------------------------------

    def register(self, *webhooks):
        _, registrations = read_registrations(json.dumps(list(webhooks)), self.operators.rules, plugin=PLUGIN)
        self.operators.registry.apply(PLUGIN, registrations)
        self._webhooks = [webhook["id"] for webhook in webhooks]

    def trigger(self, webhook, *data, lane="bulk"):
        """Accept a call for each of ``data``, in one message; return their reference ids."""
        calls = [TriggerRequest(PLUGIN, webhook, {"data": each}, new_reference_id(), "k1") for each in data]
        return [answer.reference_id for answer in self.operators.dispatcher.trigger_many(calls)]

    def record(self, ref):
        return self.operators.store.find(ref)

    # -- time ---------------------------------------------------------------------------------------------------

    def step(self, by_ms):
        """Move the server's clock."""
        self._now_ms += by_ms
        self.client.set("test:clock", f"{self._now_ms // 1000} {self._now_ms % 1000 * 1000}")

    def run(self):
        """Give the worker every message, until nothing more happens."""
        while self.lanes.published or self._busy:
            self.bring_messages()
            self.wait()

    def wait(self):
        """Wait until nothing more happens. A worker that is told to stop takes no more messages."""
        end_s = time.monotonic() + QUIET_S
        while self._busy:
            assert time.monotonic() < end_s, self.leftovers()
            gevent.sleep(0.0005)

    def bring_messages(self):
        while self.lanes.published:
            lane, partition = self.lanes.published.popleft()
            gevent.spawn(self.executor.run_waiting, (lane,), partition)

    def run_to_the_end(self, refs):
        """Run, let time pass, and sweep, until these calls and those that they make have ended."""
        self.run()
        steps = 0
        while not self._all_over(refs):
            assert steps < MOST_STEPS, [self.record(ref) for ref in refs]
            steps += not self.faults.going_on
            self.step(STEP_MS)
            self._sweep()
            self.run()

    def _sweep(self):
        looks = {"sweep": self.parts.sweeper.sweep, "look": self.executor.look, "wake": self.executor.scheduler.wake}
        for name, look in looks.items():
            try:
                look()
            except Exception as error:  # noqa: BLE001 - as `Loop` does around it
                Failures(name).note(error)

    def _all_over(self, refs):
        """Return whether these calls are final and no other alarm is set, such as that of a replay job."""
        alarms = self.client.pipeline(transaction=False)
        for name in (KEYS.due_running(), *(KEYS.due_queued(lane) for lane in LANES)):
            alarms.zcard(name)
        return not any(alarms.execute()) and all(self.record(ref).state.final for ref in refs)

    @property
    def _busy(self):
        active = self.executor._active_calls._active_calls  # including those that a stop has given back
        return (
            self._at_work()
            or self.executor.scheduler.runs.qsize()
            or self.executor._under_way
            or active
            or self._to_commit()
        )

    def _to_commit(self):
        """Return whether anything waits in a queue of groups."""
        executor = self.executor
        return not all(queues.flush(0) for queues in (executor._in_flight.settlers, executor._advancers))

    def _at_work(self):
        self.greenlets = [each for each in self.greenlets if not each.dead]
        return [each for each in self.greenlets if each not in self._own]

    # -- what may be left behind --------------------------------------------------------------------------------

    def leftovers(self):
        """Return everything that is still held although nothing is going on; empty if all is well."""
        return self.held_by_executor() | self._held_in_store()

    def held_by_executor(self):
        executor = self.executor
        pool = executor._in_flight._pool
        held = {
            "slots": SLOTS - executor._slots.free,
            "slots by webhook": dict(executor._slots._held),
            "claims": executor._claimer._under_way,
            "active calls": executor._active_calls._active_calls,
            "runs": executor.scheduler.runs.qsize(),
            "in progress": executor.scheduler._held,
            "asked for": executor.scheduler._asked_for,
            "replay jobs": executor._replaying._in_progress,
            "settler and advancer": self._to_commit(),
            "settler, dead": [each for each in self._own if each.dead],
            "greenlets": self._at_work(),
            "greenlets of the pool at work": pool._items.qsize(),
        }
        return {name: what for name, what in held.items() if what}

    def _held_in_store(self):
        kinds = (KEYS.running, KEYS.open_calls, KEYS.parked)
        sets = [of(PLUGIN, webhook) for webhook in self._webhooks for of in kinds]
        sets += [KEYS.due_running(), *(KEYS.due_queued(lane) for lane in LANES)]
        pipeline = self.client.pipeline(transaction=False)
        for name in sets:
            pipeline.zcard(name)
        pipeline.hgetall(KEYS.pending())
        pipeline.get(KEYS.plugin_pending(PLUGIN))
        *counts, pending, of_plugin = pipeline.execute()
        held = dict(zip(sets, counts, strict=True)) | {"pending of the plugin": int(of_plugin or 0)}
        held |= {f"pending {name.decode()}": int(count) for name, count in pending.items()}
        return {name: what for name, what in held.items() if what}

    def _spawn(self, *args, **kwargs):
        greenlet = gevent.Greenlet.spawn(*args, **kwargs)
        self.greenlets.append(greenlet)
        return greenlet
