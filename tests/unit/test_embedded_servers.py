"""Which servers `relay up` starts itself, and which settings prevent that."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager

import pytest

from relay.errors import SettingsError, Unavailable
from relay.store.health.readiness import Probe, probe
from relay.store.partitions.number import partitions_of
from relay.store.server.connection import client_of
from relay.up import embedded, processes
from relay.up.access import ADMINISTRATOR, OPERATOR
from relay.up.datadir import DataDir
from relay.up.local import LaunchPlan, LocalRelay
from tests.procfile import default_processes
from tests.timing import ANSWER_S, wait_until

OTHER = "redis://:other-password@127.0.0.1:7777/0"
AMQP = "amqp://user:password@127.0.0.1:5672/"
NAMES = ("RELAY_REDIS_URL", "RELAY_STORE_URL", "RELAY_BROKER_URL", "RELAY_STORE_REPLICAS", "RELAY_PARTITIONS")


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Prepare a start in one data directory with these variables."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def prepare(*, cluster=True, **environ):
        with monkeypatch.context() as patch:
            for name, text in environ.items():
                patch.setenv(name, text)
            relay = LocalRelay.prepare(tmp_path / "d", LaunchPlan(port=0, flower_port=0, cluster=cluster))
        relay.lock.close()
        return relay

    return prepare


def test_a_server_that_loads_for_longer_than_it_may_be_silent_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "_READY_S", 4.0)
    server = embedded.EmbeddedServer.prepare(DataDir.make(tmp_path / "d"), "always")

    @contextmanager
    def running():
        process = subprocess.Popen(server.command, stdout=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()

    with running(), client_of(server.url(ADMINISTRATOR), socket_timeout=ANSWER_S) as client:
        wait_until(lambda: probe(server.url(OPERATOR)) is Probe.READY)
        pipeline = client.pipeline(transaction=False)
        for number in range(60_000):
            pipeline.set(f"key{number}", number)
        pipeline.execute()
    configuration = tmp_path / "d" / embedded.CONFIGURATION_FILE
    configuration.chmod(0o600)
    slowly = "\nkey-load-delay 100\nloading-process-events-interval-bytes 1024\n"  # microseconds
    configuration.write_text(configuration.read_text() + slowly)
    with running() as process:
        began_s = time.monotonic()
        server.wait(lambda: process.poll() is None)
        assert time.monotonic() - began_s > 2 * embedded._READY_S
    with pytest.raises(Unavailable, match="log in the data directory"):
        server.wait(lambda: True)


def write_records(directory, *, cluster):
    """Write the files of a server that has run in this directory."""
    folder = (directory.cluster / "store1" if cluster else directory.server) / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof.1.incr.aof").touch()


def test_records_are_on_a_cluster_whose_replicas_count_and_lanes_on_a_server_beside_it(start):
    relay = start()
    written = relay.settings.to_environ()
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in relay.servers.cluster.servers)
    assert written["RELAY_STORE_URL"].endswith(f"@{hosts}")
    assert written["RELAY_BROKER_URL"].endswith(f"@127.0.0.1:{relay.servers.single.port}/0")
    assert (relay.settings.store_replicas, partitions_of(relay.settings)) == (1, 16)
    assert (relay.directory.path / "admin.url").read_text().startswith("redis+cluster://admin:")


def test_every_process_has_addresses_of_its_own_user(start):
    relay = start()
    written = relay.settings.to_environ()
    for process in default_processes():
        given = relay.servers.addresses_for(process, written)
        assert given.keys() == {"RELAY_REDIS_URL", "RELAY_STORE_URL", "RELAY_BROKER_URL"}
        of_broker = "consumer" if process.name.startswith("worker") else process.user
        assert f"://{of_broker}:" in given.pop("RELAY_BROKER_URL")
        assert all(f"://{process.user}:" in url for url in given.values())
    assert relay.servers.addresses_for(processes.demo_endpoint(1), written) == {}


def test_the_next_start_takes_nothing_over_and_has_the_same_ports_and_passwords(start):
    first = start()
    write_records(first.directory, cluster=True)
    again = start()
    assert again.kept_settings == {}
    assert (again.settings.store_url, again.settings.broker_url) == (
        first.settings.store_url,
        first.settings.broker_url,
    )


@pytest.mark.parametrize(("first", "then", "words"), [(True, False, "use --cluster"), (False, True, "leave --cluster")])
def test_records_of_the_other_kind_are_refused(start, first, then, words):
    write_records(start(cluster=first).directory, cluster=first)
    with pytest.raises(SettingsError, match=words):
        start(cluster=then)


@pytest.mark.parametrize("name", ["RELAY_REDIS_URL", "RELAY_STORE_URL", "RELAY_REDIS_URL_FILE"])
def test_an_address_of_a_store_is_refused_beside_a_cluster_of_its_own(start, name):
    with pytest.raises(SettingsError, match="--cluster starts the servers of the records itself"):
        start(**{name: OTHER})


def test_a_broker_of_ones_own_is_used_and_none_is_started(start):
    relay = start(RELAY_BROKER_URL=AMQP)
    assert relay.servers.single is None
    assert relay.settings.broker_url.reveal() == AMQP
    assert start().kept_settings == {"RELAY_BROKER_URL": AMQP}


def test_a_number_of_replicas_that_was_given_stays(start):
    start(RELAY_STORE_REPLICAS="2")
    assert start().settings.store_replicas == 2
