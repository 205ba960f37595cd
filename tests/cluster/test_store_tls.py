"""Reaches a store by TLS, with its certificate checked: one server, one that Sentinels name, and a cluster."""

from __future__ import annotations

import re
from contextlib import ExitStack
from functools import partial

import pytest

from relay.doctor.certificates import examine_certificates
from relay.errors import Unavailable
from relay.settings import Settings
from relay.store.scripting.scripts import Scripts
from relay.store.server.connection import client_of
from tests.cluster.sentinels import SERVICE, sentinels
from tests.conftest import start_valkey
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, make_authority, receiver
from tests.timing import ANSWER_S, wait_until
from tests.tls_front import tls_front, tls_or_plain_front

SEEN_S = 30


@pytest.fixture(scope="module")
def tls_port(authority, tmp_path_factory):
    server = start_valkey(tmp_path_factory.mktemp("behind"))
    with tls_front(authority.context("127.0.0.1"), server.port) as port:
        yield port
    server.terminate()


def test_calls_are_made_with_store_and_broker_by_tls(tls_port, authority, tmp_path_factory):
    url = f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={authority.ca_file}"
    with worker_harness(tmp_path_factory, RELAY_REDIS_URL=url) as harness:
        harness.start_worker("bulk")
        with receiver(json_answer({"ok": True})) as endpoint:
            harness.register(hook(endpoint.url))
            assert harness.final(harness.trigger()).state.value == "delivered"


def test_calls_are_made_with_store_and_broker_that_sentinels_name_by_tls(authority, tmp_path_factory):
    context = authority.context("127.0.0.1")
    with ExitStack() as stack:
        servers = stack.enter_context(sentinels(0, 2, front=partial(tls_or_plain_front, context)))
        ports = [stack.enter_context(tls_front(context, port)) for port in servers.ports]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        url = f"rediss+sentinel://{hosts}/{SERVICE}?ssl_ca_certs={authority.ca_file}"
        assert certificates_found(url.partition("://")[2], "rediss+sentinel") == len(ports) + 2
        harness = stack.enter_context(worker_harness(tmp_path_factory, RELAY_REDIS_URL=url))
        harness.start_worker("bulk")
        endpoint = stack.enter_context(receiver(json_answer({"ok": True})))
        harness.register(hook(endpoint.url))
        assert harness.final(harness.trigger()).state.value == "delivered"


@pytest.mark.parametrize(("believed", "host"), [("another", "127.0.0.1"), ("its own", "localhost")])
def test_a_store_whose_certificate_is_another_authority_s_or_host_s_is_not_spoken_to(
    tls_port, authority, tmp_path, believed, host
):
    ca_file = authority.ca_file if believed == "its own" else make_authority(tmp_path).ca_file
    with (
        client_of(f"rediss://{host}:{tls_port}/0?ssl_ca_certs={ca_file}", socket_timeout=ANSWER_S) as client,
        pytest.raises(Unavailable) as told,
    ):
        Scripts(client).run("read")
    assert "CERTIFICATE_VERIFY_FAILED" in str(told.value.__cause__)


def test_a_cluster_is_reached_by_tls_whatever_server_has_the_key(three_nodes, authority, tmp_path):
    context = authority.context("127.0.0.1")
    with ExitStack() as stack:
        ports = [stack.enter_context(tls_front(context, server.port)) for server in three_nodes.servers]
        stack.callback(announce, three_nodes, [0, 0, 0])
        announce(three_nodes, ports)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        with client_of(f"rediss+cluster://{hosts}?ssl_ca_certs={authority.ca_file}", socket_timeout=ANSWER_S) as client:
            for number in range(16):
                client.set(f"relay:{{{number}}}:a", number)
            assert [int(client.get(f"relay:{{{number}}}:a")) for number in range(16)] == list(range(16))
            assert {node.port for node in client.get_primaries()} == set(ports)
            assert certificates_found(f"{hosts.split(',')[0]}?ssl_ca_certs={authority.ca_file}") == 4
        with pytest.raises(Unavailable):
            client_of(
                f"rediss+cluster://{hosts}?ssl_ca_certs={make_authority(tmp_path).ca_file}", socket_timeout=ANSWER_S
            )


def certificates_found(address, scheme="rediss+cluster"):
    """Return how many certificates doctor finds: one of each server, whether or not the address names it, and the CA's."""
    given = {"RELAY_REDIS_URL": f"{scheme}://{address}", "RELAY_BROKER_URL": "redis://127.0.0.1:1/0"}
    (found,) = examine_certificates(Settings.from_environ(given))
    return int(re.match(r"first of (\d+): ", found.found)[1])


def announce(servers, ports):
    """Make the servers announce these ports to clients; 0 means their own."""
    for number, port in enumerate(ports):
        with servers.node(number) as node:
            node.config_set("cluster-announce-port", port)
    wanted = {port or server.port for port, server in zip(ports, servers.servers, strict=True)}
    wait_until(lambda: all(named_by(servers, number) == wanted for number in range(len(ports))), SEEN_S)


def named_by(servers, number):
    with servers.node(number) as node:
        return {primary[1] for _, _, primary, *_ in node.execute_command("CLUSTER SLOTS")}
