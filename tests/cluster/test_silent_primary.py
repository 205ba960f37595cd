"""A primary hangs and nothing replaces it: calls of plugins in other partitions go on."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from relay.accept.intake import TriggerRequest
from relay.audit.checkpoint import Signed
from relay.audit.signing_keys import new_private_text
from relay.domain.reference_id import new_reference_id
from relay.errors import RelayError, Unavailable
from relay.store.keys.keyspace import notice
from relay.store.keys.names import SHARED_ROOT, partition_root
from relay.store.ledger.notices import Subscription
from relay.store.server.availability import PATIENCE_S
from relay.store.server.connection import client_of
from relay.store.trail.trail import Trail
from relay.store.trail.writer import AuditWriter
from tests.cluster.load import PLUGINS
from tests.cluster.servers import cluster
from tests.integration.worker_harness import worker_harness
from tests.receivers import json_answer, receiver, slow
from tests.timing import ANSWER_S, BUSY_S, START_S, wait_until

CALLS = 40  # of each unaffected plugin, while the primary hangs
WITHIN_S = 60  # when all calls waited for the silent server, a single one took longer
FINAL_S = 90


class Caller(threading.Thread):
    """Sends one plugin's triggers one after another, so that plugins can wait for each other only in the relay."""

    def __init__(self, harness, plugin):
        super().__init__()
        self.plugin, self.accepted, self.refused = plugin, [], Counter()
        self.pause_s = 0.15  # no faster than a worker sends on a busy machine
        self._dispatcher, self._stopping = harness.runtime.dispatcher, threading.Event()  # built before any thread runs

    def run(self):
        while not self._stopping.is_set():
            call = TriggerRequest(self.plugin, "post", {"data": {}}, new_reference_id(self.plugin), "k1")
            try:
                self.accepted.append(self._dispatcher.trigger(call).reference_id)
            except RelayError as error:
                self.refused[type(error)] += 1
            time.sleep(self.pause_s)

    def stop(self):
        self._stopping.set()


@pytest.fixture
def servers():
    with cluster(3) as servers:
        for number in range(3):
            with servers.node(number) as node:
                node.config_set("cluster-require-full-coverage", "no")
        servers.spare_the_disk()  # or a busy one may hold a healthy server for as long as the silent one
        yield servers


@pytest.fixture
def harness(servers, tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_STORE_URL=servers.url) as harness:
        harness.start_worker("bulk")
        yield harness


@pytest.fixture
def callers(harness):
    with receiver(slow(0.02, json_answer({"ok": True}))) as received:
        for plugin in PLUGINS:
            harness.register({"id": "post", "url": received.url, "method": "POST"}, plugin=plugin)
        callers = {plugin: Caller(harness, plugin) for plugin in PLUGINS}
        for caller in callers.values():
            caller.start()
        yield callers
        for caller in callers.values():
            caller.stop()
        for caller in callers.values():
            caller.join()


def final(harness, reference_ids):
    """Return those of these ids that are final."""
    return [ref for ref in reference_ids if harness.record(ref).state.final]


@pytest.mark.parametrize("has_shared_keys", [False, True])
def test_calls_of_plugins_in_other_partitions_go_on(servers, harness, callers, has_shared_keys):
    client = client_of(servers.url, socket_timeout=ANSWER_S)
    ports = {plugin: client.get_node_from_key(harness.runtime.keyspace.root(plugin)).port for plugin in PLUGINS}
    shared = client.get_node_from_key(SHARED_ROOT).port
    client.close()
    silent = next(port for port in ports.values() if (port == shared) is has_shared_keys)
    others = [plugin for plugin in PLUGINS if ports[plugin] != silent]
    concerned = [callers[plugin] for plugin in PLUGINS if ports[plugin] == silent]
    wait_until(lambda: all(len(caller.accepted) > 10 for caller in callers.values()), FINAL_S)
    number = next(number for number, server in enumerate(servers.servers) if server.port == silent)

    servers.freeze(number)
    try:
        before = {plugin: len(callers[plugin].accepted) for plugin in others}
        wait_until(
            lambda: all(
                len(final(harness, callers[plugin].accepted[before[plugin] :][:CALLS])) == CALLS for plugin in others
            ),
            WITHIN_S,
            every_s=0.5,
        )
        for plugin in others:  # they go on, but refusals take seconds
            callers[plugin].pause_s = 1.0
        wait_until(lambda: all(caller.refused[Unavailable] > 2 for caller in concerned), WITHIN_S)
        for plugin in others:  # a busy machine may hold up a healthy server for as long as the silent one, now and then
            assert sum(callers[plugin].refused.values()) <= len(callers[plugin].accepted) / 20, plugin
    finally:
        servers.thaw(number)

    counts = [len(caller.accepted) for caller in concerned]
    wait_until(
        lambda: all(len(each.accepted) > count + 5 for each, count in zip(concerned, counts, strict=True)), FINAL_S
    )
    for caller in callers.values():
        caller.stop()
    for caller in callers.values():
        caller.join()
    left = {ref for caller in callers.values() for ref in caller.accepted}
    counts = [len(left)]

    def none_is_left():
        left.difference_update(final(harness, left))
        counts.append(len(left))
        return not left

    try:
        wait_until(none_is_left, 2 * FINAL_S, every_s=1)
    except AssertionError:
        raise AssertionError(f"not final: {counts}") from None


@pytest.fixture
def signed_site(servers, tmp_path_factory):
    key = new_private_text()
    with worker_harness(tmp_path_factory, RELAY_STORE_URL=servers.url, RELAY_AUDIT_KEY=key) as harness:
        harness.start_worker("bulk")
        yield harness


def test_the_audit_trails_of_other_servers_are_signed(servers, signed_site):
    keys, client = signed_site.runtime.keyspace, client_of(servers.url, socket_timeout=ANSWER_S)
    silent = client.get_node_from_key(partition_root(0)).port
    plugins = [plugin for plugin in PLUGINS if client.get_node_from_key(keys.root(plugin)).port != silent]
    trails = {plugin: Trail(client, keys.root(plugin)) for plugin in plugins}
    number = next(number for number, server in enumerate(servers.servers) if server.port == silent)
    servers.freeze(number)
    try:
        for plugin in plugins:
            AuditWriter(client, keys).write("forget", plugin=plugin, subject="s")
        wait_until(lambda: all(is_signed(trail) for trail in trails.values()), WITHIN_S, every_s=0.5)
    finally:
        servers.thaw(number)
        client.close()


def is_signed(trail):
    """Return whether the newest checkpoint covers all entries, of which there are some."""
    end = trail.end()
    point = Signed.from_bytes(end.head) if end.head else None
    return point is not None and len(end.entries) == point.members["last"] - point.members["first"] + 1


def test_notices_come_by_another_server_when_the_one_that_sends_them_is_silent(servers):
    """Every server of a cluster has every notice."""
    told, subscribed, stop = [], threading.Event(), threading.Event()
    client = client_of(servers.url, socket_timeout=ANSWER_S)
    thread = threading.Thread(target=Subscription(client, "api1").run, args=(told.append, subscribed.set, stop))
    thread.start()
    try:
        assert subscribed.wait(START_S)
        sending = next(number for number in range(3) if has_subscriber(servers, number))
        servers.freeze(sending)
        try:
            wait_until(lambda: has_subscriber(servers, (sending + 1) % 3) or has_subscriber(servers, (sending + 2) % 3))
            with servers.node((sending + 1) % 3) as node:
                node.publish(notice("api1"), f"{new_reference_id('acme')} delivered answered 200 0 - -1\n")
            wait_until(lambda: told, BUSY_S)
        finally:
            servers.thaw(sending)
    finally:
        stop.set()
        thread.join()
        client.close()


def has_subscriber(servers, number):
    with servers.node(number) as node:
        return bool(node.pubsub_channels(notice("api1")))


def asks_alone(client, root):
    client.exists(root)


def asks_for_several(client, root):
    client.exists(root, root.replace(":", ":x:"))


def asks_in_a_pipeline(client, root):
    pipeline = client.pipeline(transaction=False)
    pipeline.exists(root)
    pipeline.execute()


def calls_a_script(client, root):
    client.eval("return redis.call('EXISTS', KEYS[1])", 1, root)


@pytest.mark.parametrize("is_connected", [True, False])
def test_whoever_asks_the_silent_server_alone_waits_once(servers, is_connected):
    limit_s = 2.0
    root = partition_root(0)
    for ask in (asks_alone, asks_for_several, asks_in_a_pipeline, calls_a_script):
        retry = Retry(ExponentialBackoff(cap=0.4, base=0.05), 2)
        with client_of(servers.url, socket_timeout=limit_s, retry=retry) as client:
            silent = client.get_node_from_key(root).port
            if is_connected:
                ask(client, root)
            number = next(number for number, server in enumerate(servers.servers) if server.port == silent)
            servers.freeze(number)
            try:
                began_s = time.monotonic()
                with pytest.raises(redis.exceptions.TimeoutError):
                    ask(client, root)
                assert limit_s <= time.monotonic() - began_s < 2 * limit_s, ask
            finally:
                servers.thaw(number)
            wait_until(lambda client=client: answers(client, root), 10, every_s=0.2)


def answers(client, root):
    try:
        return client.exists(root) == 0
    except redis.exceptions.TimeoutError:
        return False


def test_a_pipeline_that_waits_for_the_silent_server_keeps_nobody_from_the_others(servers):
    """As the metrics page asks all partitions at once."""
    roots = [partition_root(number) for number in range(8)]
    with client_of(servers.url, socket_timeout=3 * PATIENCE_S) as client:
        ports = {root: client.get_node_from_key(root).port for root in roots}
        silent = ports[roots[0]]  # read first
        pipeline = client.pipeline(transaction=False)
        for root in roots:
            client.exists(root)  # so that there is a connection to each server
            pipeline.exists(root)
        number = next(number for number, server in enumerate(servers.servers) if server.port == silent)
        servers.freeze(number)
        try:
            asking = threading.Thread(target=pipeline.execute)
            asking.start()
            end_s = time.monotonic() + 2 * PATIENCE_S
            while time.monotonic() < end_s:
                assert [client.exists(root) for root in roots if ports[root] != silent]
                time.sleep(0.05)
            assert asking.is_alive()
        finally:
            servers.thaw(number)
            asking.join()
