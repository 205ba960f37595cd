"""Injects faults on a seeded schedule, and logs what was done, so that the results can be judged."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import redis

from relay.queue import LANES
from relay.store.health.readiness import Probe, probe
from tests.chaos.harness import wait_for
from tests.chaos.plan import LEASE_MARGIN_S
from tests.chaos.refusals import RIGHTS, Refusals
from tests.chaos.sinks import SINKS, Sink

if TYPE_CHECKING:
    from tests.chaos.harness import Harness
    from tests.chaos.plan import Plan

SHORT_STALL_S = (0.5, 1.5)  # shorter than every lease
LONG_STALL_S = (LEASE_MARGIN_S + 3.0, LEASE_MARGIN_S + 5.0)  # longer than every lease
PAUSE_S = (0.5, 2.0)  # between faults
DROPPED = 4  # how many messages of a lane to drop at a time
SAMPLE_S = 0.1
POWER_LOSS_S = 1.0  # how much `everysec` may leave unsynced

#: Faults and their weights. A `server` fault affects all processes, a `worker` fault one.
KINDS = {
    "worker killed": 6,
    "worker stalled": 3,
    "worker stalled beyond its lease": 3,
    "worker ended": 4,
    "api killed": 2,
    "api's child killed": 1,
    "api stalled": 1,
    "api ended": 2,
    "server killed": 2,
    "server stalled": 2,
    "server slow": 2,
    "server restarted": 1,
    "messages dropped": 5,
    "connections killed": 3,
    "scripts forgotten": 1,
    "server without replicas": 2,
    "server full": 1,
    "server's disk full": 2,
    "server busy": 2,
    "server takes rights away": 3,
    "worker's log fails": 2,
    "api's log fails": 1,
}
#: A run begins with these, or with its part of them: every suite of short runs has to see what they cause.
FIRST = {"api killed", "server without replicas", "worker stalled beyond its lease", "worker killed"}
#: A run of two releases begins with these: a process that ends comes back as the other release.
ENDS = {"worker killed", "worker ended", "api killed", "api's child killed", "api ended", "server restarted"}
SLOW_S = (2.0, 5.0)
SLOW_EVERY_S = 0.3
HELD_MS = (50, 400)
REFUSES_S = (0.5, 3.0)  # longer than the shortest timeouts, shorter than a lease


@dataclass(frozen=True)
class Fault:
    """A fault that was injected. Times are milliseconds since the epoch; the server uses the same clock."""

    kind: str
    target: str
    from_ms: int
    to_ms: int

    def meets(self, from_ms: int, to_ms: int) -> bool:
        return self.from_ms <= to_ms and from_ms <= self.to_ms


@dataclass
class Mischief:
    """Injects one fault after another until it is stopped; ``log`` lists what was done."""

    harness: Harness
    plan: Plan
    log: list[Fault] = field(default_factory=list)
    lost_power_at_ms: int | None = None
    _ending: threading.Event = field(default_factory=threading.Event)
    _sizes: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.plan.seed)
        self.kinds = KINDS
        self._refusals = Refusals(self.harness.redis_port)
        self._thread = threading.Thread(target=self._run)
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        self._thread.start()
        self._sampler.start()

    def stop(self) -> None:
        """Stop injecting faults; returns when every process is running again."""
        self._ending.set()
        self._thread.join()
        if self.failure:
            raise self.failure

    def _run(self) -> None:
        try:
            first = list(self.kinds)  # first each kind once, then at random by weight; taken from the end
            random.Random(self.plan.seed).shuffle(first)
            first.sort(key=(ENDS if self.harness.beside else FIRST).__contains__)
            number, runs = self.plan.part
            first = first[number::runs]
            if self.plan.power_loss:
                first.insert(len(first) // 2, "power lost")
            while not self._ending.wait(self._random.uniform(*PAUSE_S)):
                if first:
                    kind = first.pop()
                    if is_killing := kind == "worker killed":
                        self._wait_for_calls()
                    # One worker alone may have nothing to do, and so loses no lease.
                    self._do(kind, everywhere=is_killing)
                else:
                    self._do(self._random.choices(list(self.kinds), list(self.kinds.values()))[0])
        except BaseException as error:  # noqa: BLE001 - the run reports it
            self.failure = error

    def _wait_for_calls(self) -> None:
        """Wait until workers send calls that must not be sent twice: killing idle ones would interrupt none."""
        places = [
            self.harness.keys.of_plugin("running", plugin, webhook=hook.id)
            for plugin in self.plan.plugins
            for hook in self.plan.hooks
            if not hook.repeatable
        ]
        while not self._ending.wait(0.01):
            with suppress(redis.RedisError):
                if any(self.harness.client.zcount(each, _now_ms(), "+inf") for each in places):
                    return

    def _do(self, kind: str, *, everywhere: bool = False) -> None:
        targets = self._targets(kind)
        for name in targets if everywhere else [self._random.choice(targets)]:
            started, part = _now_ms(), self.harness.parts[name]
            getattr(self, "_" + kind.replace("'", "").replace(" ", "_"))(part)
            self.log.append(Fault(kind, name, started, _now_ms()))

    def _targets(self, kind: str) -> list[str]:
        target = kind.split(" ", 1)[0]
        if target in {"worker", "worker's"}:
            return self.harness.workers()
        return self.harness.apis() if target in {"api", "api's"} else ["valkey"]

    # -- one process --------------------------------------------------------------------------------------------

    def _kill(self, part):
        part.signal(signal.SIGKILL)

    _worker_killed = _api_killed = _kill

    def _apis_child_killed(self, part):
        if children := _children(part.pid):
            with suppress(ProcessLookupError):  # it may have just ended
                os.kill(self._random.choice(children), signal.SIGKILL)

    def _end(self, part):
        part.signal(signal.SIGTERM, group=False)

    _worker_ended = _api_ended = _end

    def _stall(self, part, bounds=SHORT_STALL_S):
        part.signal(signal.SIGSTOP)
        self._ending.wait(self._random.uniform(*bounds))
        part.signal(signal.SIGCONT)

    _worker_stalled = _api_stalled = _server_stalled = _stall

    def _worker_stalled_beyond_its_lease(self, part):
        self._stall(part, LONG_STALL_S)

    # -- the server ---------------------------------------------------------------------------------------------

    def _server_killed(self, part):
        wait_for(self._has_written, "a server that has written what it answered", self.harness.last_words)
        self.harness.down.add(part.name)
        part.kill()
        self._ending.wait(self._random.uniform(0, 1.5))
        self._start_server(part)

    def _has_written(self):
        """Return whether the server has written its file; `everysec` may delay that by two seconds: a kill loses it."""
        with suppress(redis.RedisError):
            info = self.harness.client.info("persistence")
            return not info["aof_pending_bio_fsync"] and not info["aof_buffer_length"]
        return False

    def _server_restarted(self, part):
        self.harness.down.add(part.name)
        part.signal(signal.SIGTERM)
        part.wait(30)
        self._start_server(part)

    def _power_lost(self, part):
        """Kill the server, and cut off its file what `everysec` may not have synced in the last second."""
        self.harness.down.add(part.name)
        killed_s = time.time()
        part.kill()
        kept = max((size for at_s, size in self._sizes if at_s <= killed_s - POWER_LOSS_S), default=0)
        os.truncate(self.harness.append_only_file(), kept)
        self.lost_power_at_ms = int(killed_s * 1000)
        self._start_server(part)

    def _start_server(self, part):
        part.start()
        self.harness.down.discard(part.name)
        wait_for(lambda: probe(self.harness.redis_url) is Probe.READY, "the server", self.harness.last_words)

    # -- a server that refuses ----------------------------------------------------------------------------------

    def _refuses(self):
        self._ending.wait(self._random.uniform(*REFUSES_S))

    def _server_without_replicas(self, _part):
        with self._refusals.without_replicas():
            self._refuses()

    def _server_full(self, _part):
        with self._refusals.full():
            self._refuses()

    def _server_slow(self, _part):
        """Hold every command back for a while, again and again."""
        until_s = time.monotonic() + self._random.uniform(*SLOW_S)
        while time.monotonic() < until_s and not self._ending.is_set():
            with suppress(redis.RedisError):
                self.harness.client.client_pause(self._random.randint(*HELD_MS), all=True)
            time.sleep(SLOW_EVERY_S)

    def _server_busy(self, _part):
        with self._refusals.busy():
            self._refuses()

    def _server_takes_rights_away(self, _part):
        with self._refusals.without_rights(self._random.choice(RIGHTS)):
            self._refuses()

    def _servers_disk_full(self, part):
        """Fill the disk. Under `always` the server then ends, and is started again once there is room."""
        with self._refusals.full_disk(part.pid, self.harness.append_only_file()):
            self._refuses()
        wait_for(lambda: probe(self.harness.redis_url) is Probe.READY, "the server", self.harness.last_words)

    # -- a log that cannot be written to ------------------------------------------------------------------------

    def _log_fails(self, part):
        """Restart the process with a failing log; after its next restart the log works again."""
        part.log_to(Sink(self._random.choice(SINKS)))
        part.kill()
        while not part.is_running():
            time.sleep(0.05)
        self._ending.wait(self._random.uniform(*REFUSES_S))

    _workers_log_fails = _apis_log_fails = _log_fails

    def _messages_dropped(self, _part):
        with suppress(redis.RedisError):
            for lane in LANES:
                self.harness.broker.lpop(lane, DROPPED)

    def _connections_killed(self, _part):
        """Close all connections to the server; replies in transit are lost."""
        with suppress(redis.RedisError):
            self.harness.client.execute_command("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal")
            self.harness.client.execute_command("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "pubsub")

    def _scripts_forgotten(self, _part):
        with suppress(redis.RedisError):
            self.harness.client.function_flush()

    def _sample(self):
        while not self._ending.wait(SAMPLE_S):
            with suppress(OSError, ValueError):
                self._sizes.append((time.time(), self.harness.append_only_file().stat().st_size))


def _now_ms() -> int:
    return int(time.time() * 1000)


def _children(pid: int) -> list[int]:
    import psutil

    with suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children()]
    return []
