"""Celery's lanes on RabbitMQ: published, counted and taken, and a broker that is killed loses no call."""

from __future__ import annotations

import ssl

import pytest

from relay.queue import Publisher, make_app
from relay.settings import Settings
from tests.cluster.brokers import rabbitmq
from tests.cluster.load import Load
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, make_authority, receiver
from tests.timing import wait_until

DEPTH_S = 30


@pytest.fixture(scope="module")
def broker():
    with rabbitmq() as broker:
        yield broker


def test_messages_are_published_and_counted(broker):
    url = "redis://127.0.0.1:1/0"
    app = make_app(Settings.from_environ({"RELAY_REDIS_URL": url, "RELAY_BROKER_URL": broker.url}))
    publisher = Publisher(app, waiting=None)
    assert publisher.depths() == {"interactive": 0, "bulk": 0, "replay": 0}
    publisher.announce([("replay", 0)] * 3)
    wait_until(lambda: publisher.depths()["replay"] == 3, DEPTH_S)
    assert publisher.messages(["bulk"], 0) == [("bulk", b"")]
    with app.connection() as connection:
        app.amqp.queues["replay"](connection.channel()).purge()


def test_calls_are_made_with_a_broker_that_is_reached_by_tls(broker, tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_BROKER_URL=broker.tls_url(broker.authority.ca_file)) as harness:
        harness.start_worker("bulk")
        with receiver(json_answer({"ok": True})) as endpoint:
            harness.register(hook(endpoint.url))
            assert harness.final(harness.trigger()).state.value == "delivered"


@pytest.mark.parametrize(("believed", "host"), [("another", "127.0.0.1"), ("its own", "localhost")])
def test_a_broker_whose_certificate_is_another_authority_s_or_host_s_is_not_spoken_to(broker, tmp_path, believed, host):
    ca_file = broker.authority.ca_file if believed == "its own" else make_authority(tmp_path).ca_file
    url = broker.tls_url(ca_file, host)
    app = make_app(Settings.from_environ({"RELAY_REDIS_URL": "redis://127.0.0.1:1/0", "RELAY_BROKER_URL": url}))
    with app.connection() as connection, pytest.raises(ssl.SSLCertVerificationError):
        connection.connect()


def test_a_broker_that_is_killed_and_comes_back_loses_nothing_and_doubles_nothing(broker, tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_BROKER_URL=broker.url, RELAY_LEASE_MARGIN="2") as harness:
        harness.start_worker("bulk")
        with Load(harness) as load:
            load.wait_for(100)
            broker.kill()
            load.wait_for(20)  # accepted, although no worker takes them
            broker.start()
            load.wait_for(100)
            ends = load.check()
        assert ends["delivered"] == sum(ends.values())
