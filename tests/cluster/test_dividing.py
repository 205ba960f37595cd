"""A relay on one server becomes one on a cluster, as docs/scaling.md says: no call is lost or doubled."""

from __future__ import annotations

import signal

import pytest
import redis
from click.testing import CliRunner

from bench.ports import free_port
from relay.cli import main
from relay.domain.reference_id import bucket_of_plugin
from relay.errors import BadParameter
from relay.settings import Settings
from relay.store.keys import keyspace
from relay.store.partitions.dividing import SILENT_MS, Division
from relay.store.server.connection import client_of
from relay.wiring.runtime import cli_runtime
from tests.cluster.load import PLUGINS, Load
from tests.conftest import start_valkey
from tests.integration.worker_harness import worker_harness
from tests.processes import signal_group
from tests.timing import ANSWER_S, wait_until

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
        with redis.Redis(port=self.port, socket_timeout=ANSWER_S) as client:
            slots = client.execute_command("CLUSTER SLOTS")
            has = {slot for first, last, *_ in slots for slot in range(first, last + 1)}
            client.execute_command("CLUSTER ADDSLOTS", *(slot for slot in range(16_384) if slot not in has))
            wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", WITHIN_S)


def stop(harness, how):
    for worker in list(harness.workers):
        signal_group(worker, how)
        worker.wait(WITHIN_S)
        harness.workers.remove(worker)
    harness.runtime.close()


def go_on_with(harness, **changed):
    """Start a relay with changed settings: this process, which accepts calls, and a worker."""
    harness.environ.update(changed)
    harness.runtime = cli_runtime(Settings.from_environ(harness.environ))
    harness.store = harness.runtime.store
    harness.start_worker("bulk")


def command(harness, directory, *arguments):
    return CliRunner().invoke(main, ["--data-dir", str(directory), *arguments], env=harness.environ)


def test_a_relay_goes_from_one_server_to_a_cluster_and_nothing_is_lost_or_doubled(tmp_path, tmp_path_factory):
    store = Store(tmp_path)
    alone = f"127.0.0.1:{store.port}"
    try:
        with worker_harness(tmp_path_factory, RELAY_STORE_URL=f"redis://{alone}/0") as harness:
            harness.start_worker("bulk")
            with Load(harness, pause_s=0.02) as load:
                load.wait_for(60)
                load.stop()  # with calls in every state
                refused = command(harness, tmp_path, "partitions", "divide", "16")
                assert (refused.exit_code, "Still running: worker bulk1@" in refused.output) == (1, True)
                stop(harness, signal.SIGKILL)
                with redis.Redis(port=store.port, socket_timeout=ANSWER_S) as client:
                    wait_until(lambda: is_silent(client), WITHIN_S)
                divided = command(harness, tmp_path, "partitions", "divide", "16")
                assert divided.exit_code == 0, divided.output
                go_on_with(harness, RELAY_PARTITIONS="16")
                load.go_on()
                load.wait_for_each(5)
                load.stop()
                stop(harness, signal.SIGTERM)
                store.become_a_cluster()
                go_on_with(harness, RELAY_STORE_URL=f"redis+cluster://{alone}")
                load.go_on()
                load.wait_for_each(5)
                ends = load.check()
            assert ends["delivered"] > 0.8 * sum(ends.values())
            assert len({bucket_of_plugin(plugin) % 16 for plugin in PLUGINS}) > 1
    finally:
        store.server.terminate()


def is_silent(client):
    """Return whether every worker has been silent for so long that it counts as stopped."""
    seconds, _ = client.time()
    return not client.zcount(keyspace.shared("workers"), seconds * 1000 - SILENT_MS, "+inf")


def test_a_cluster_is_not_divided(three_nodes):
    client = client_of(three_nodes.url, socket_timeout=ANSWER_S)
    with pytest.raises(BadParameter, match="is a cluster"):
        Division(client, 16).begin()
    client.close()
