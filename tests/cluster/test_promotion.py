"""Which accepted calls a promoted replica has, if the store waits for 0, 1 or 2 replicas, with either fsync policy."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager

import pytest
import redis

from relay.errors import Unavailable
from relay.store.ledger.invocations import InvocationStore
from relay.store.server.replicas import require_replicas
from tests.cluster.test_cluster import new_call
from tests.conftest import start_valkey
from tests.contract.ledger import LIMITS
from tests.store_keys import KEYS
from tests.timing import ANSWER_S, wait_until

PLUGIN = "plugin-0"
FOLLOWED_S = 30
pytestmark = pytest.mark.parametrize("fsync", ["everysec", "always"])


@contextmanager
def three_servers(directory, fsync):
    """Provide a primary and two replicas that follow it."""
    with ExitStack() as stack:
        servers = []
        for name in ("primary", "first", "second"):
            (directory / name).mkdir()
            more = {"replicaof": f"127.0.0.1 {servers[0].port}"} if servers else {}
            files = {"appendonly": "yes", "appendfsync": fsync, "repl-diskless-sync-delay": "0"}
            servers.append(start_valkey(directory / name, **files, **more))
            stack.callback(servers[-1].terminate)
        with redis.Redis(port=servers[0].port, socket_timeout=ANSWER_S) as primary:
            wait_until(lambda: len(online(primary)) == 2, FOLLOWED_S)
            primary.hset(KEYS.webhooks(PLUGIN), "hook", 1)
            primary.wait(2, 10_000)
        yield servers


def online(primary):
    info = primary.info("replication")
    return [name for name, each in info.items() if name.startswith("slave") and each["state"] == "online"]


def accept(server, replicas):
    """Accept a call; return its reference id."""
    with redis.Redis(port=server.port, socket_timeout=10) as client:
        require_replicas(client, replicas)
        store = InvocationStore(client, LIMITS, lease_margin_ms=10_000)
        new = new_call(PLUGIN)
        store.accept([new], [])
        return new.reference_id


def lose(server):
    os.kill(server._process.pid, signal.SIGKILL)
    server._process.wait()


def promoted_has(server, ref):
    with redis.Redis(port=server.port, socket_timeout=ANSWER_S) as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
        return bool(client.exists(KEYS.record(ref)))


def test_without_waiting_a_replica_that_was_away_lacks_what_was_accepted_meanwhile(tmp_path, fsync):
    with three_servers(tmp_path, fsync) as (primary, first, second):
        lose(first)
        lose(second)
        ref = accept(primary, 0)
        lose(primary)
        again = start_valkey(tmp_path / "first", appendonly="yes")
        try:
            assert not promoted_has(again, ref)
        finally:
            again.terminate()


@pytest.mark.parametrize("replicas", [1, 2])
def test_nothing_is_accepted_that_too_few_replicas_have(tmp_path, fsync, replicas):
    with three_servers(tmp_path, fsync) as (primary, *others):
        for replica in others[replicas - 1 :]:
            lose(replica)
        with pytest.raises(Unavailable, match="replicas"):
            accept(primary, replicas)


def test_with_one_replica_waited_for_one_has_what_was_accepted(tmp_path, fsync):
    with three_servers(tmp_path, fsync) as (primary, first, second):
        lose(second)
        ref = accept(primary, 1)
        lose(primary)
        assert promoted_has(first, ref)


def test_with_two_replicas_waited_for_either_has_what_was_accepted(tmp_path, fsync):
    with three_servers(tmp_path, fsync) as (primary, first, second):
        ref = accept(primary, 2)
        lose(primary)
        lose(first)
        assert promoted_has(second, ref)
