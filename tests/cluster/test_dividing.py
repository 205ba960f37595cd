"""A relay on one server becomes one on a cluster, as docs/scaling.md says, while calls run: none is lost or doubled."""

from __future__ import annotations

import signal

import redis

from bench.ports import free_port
from relay.errors import Conflict
from relay.runtime import api_runtime
from relay.settings import Settings
from relay.store.moving import PluginMoves
from tests.cluster.load import HOOKS, PLUGINS, Load
from tests.conftest import start_valkey
from tests.integration.worker_harness import worker_harness
from tests.processes import signal_group
from tests.timing import wait_until

FILE = {"appendonly": "yes"}
WITHIN_S = 60


class Store:
    """A single store server, which can be restarted with other settings on the same file."""

    def __init__(self, directory):
        self.directory, self.port = directory, free_port()
        self.server = start_valkey(directory, port=self.port, **FILE)

    def become_a_cluster(self):
        self.server.terminate()
        more = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
        self.server = start_valkey(self.directory, port=self.port, **FILE, **more)
        with redis.Redis(port=self.port) as client:
            slots = client.execute_command("CLUSTER SLOTS")
            has = {slot for first, last, *_ in slots for slot in range(first, last + 1)}
            client.execute_command("CLUSTER ADDSLOTS", *(slot for slot in range(16_384) if slot not in has))
            wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", WITHIN_S)


def go_on_with(harness, **changed):
    """Restart one process after another with changed settings: this one, which accepts calls, then the workers."""
    harness.environ.update(changed)
    old = harness.runtime
    harness.runtime = api_runtime(Settings.from_environ(harness.environ))
    harness.store = harness.runtime.store
    for number, worker in enumerate(list(harness.workers), 1):
        signal_group(worker, signal.SIGTERM)
        worker.wait(WITHIN_S)
        harness.workers.remove(worker)
        harness.start_worker("bulk", number)
    old.close()


def moved(runtime, plugin):
    """Pause a plugin, move it once none of its calls is being sent, and resume it."""
    for hook in HOOKS:
        runtime.policies.pause(plugin, hook)
    mover, found = PluginMoves(runtime.client, 16, learnt_s=3), []

    def is_moved():
        try:
            found.append(mover.move(plugin))
        except Conflict:  # some of its calls are still being sent
            return False
        return True

    wait_until(is_moved, WITHIN_S)
    wait_until(lambda: runtime.keyspace.is_usable(plugin), WITHIN_S)
    for ready in mover.queued(plugin, found[-1].target):
        runtime.publisher.publish_ready(ready)
    for hook in HOOKS:
        for ready in runtime.policies.resume(plugin, hook):
            runtime.publisher.publish_ready(ready)
    return found[-1]


def test_every_step_from_one_server_to_a_cluster_loses_nothing_and_doubles_nothing(tmp_path, tmp_path_factory):
    store = Store(tmp_path)
    alone = f"127.0.0.1:{store.port}"
    try:
        with worker_harness(tmp_path_factory, RELAY_STORE_URL=f"redis://{alone}/0") as harness:
            harness.start_worker("bulk")
            with Load(harness, pause_s=0.02) as load:
                load.wait_for(60)
                go_on_with(harness, RELAY_PARTITIONS="16")
                load.wait_for_each(5)
                store.become_a_cluster()
                go_on_with(harness, RELAY_STORE_URL=f"redis+cluster://{alone}")
                load.wait_for_each(5)
                for plugin in PLUGINS[:2]:
                    move = moved(harness.runtime, plugin)
                    assert (move.source, move.target != 0) == (0, True)
                load.wait_for_each(5)
                ends = load.check()
            assert ends["delivered"] > 0.8 * sum(ends.values())
    finally:
        store.server.terminate()
