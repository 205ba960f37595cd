"""A cluster's backup goes into another cluster; none is made of one whose servers change meanwhile."""

from __future__ import annotations

import pytest

from relay.backup.manifest import FILE
from relay.backup.restoring import Restoring
from relay.backup.taking import Taking
from relay.errors import Conflict
from relay.store.backups.epoch import Epochs, Phase
from relay.store.keys import keyspace
from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import SHARED_ROOT, partition_root
from relay.store.server.connection import client_of
from relay.vault import Vault
from tests.cluster.servers import cluster, wait_for_servers


@pytest.mark.parametrize("happens", ["nothing", "a restart"])
def test_a_server_that_is_replaced_while_a_backup_is_taken_ends_it(tmp_path, happens):
    vault = Vault.from_text(Vault.new_key_text())
    with cluster(2) as servers, client_of(servers.url, socket_timeout=5) as client:
        taking = Taking(client, Keyspace(4), tmp_path / "b")
        assert sum(taking.steps()) > 0
        if happens == "a restart":
            servers.kill(1)
            servers.restart(1)
            wait_for_servers(lambda: all(servers.state(number)["cluster_state"] == "ok" for number in range(2)))
            with pytest.raises(Conflict, match="run it again"):
                taking.finish(vault, 0, {}, {})
            assert not (tmp_path / "b" / FILE).exists()
        else:
            files = taking.finish(vault, 0, {}, {}).files
            assert sorted(number for file in files for number in file.partitions) == list(range(4))
            assert [file.shared for file in files] == [True, False]  # the shared keys come first


def test_a_cluster_s_backup_is_copied_into_another_cluster_also_if_a_restore_was_stopped(tmp_path):
    vault, keys = Vault.from_text(Vault.new_key_text()), Keyspace(4)
    held = {f"{partition_root(number)}p:acme:held:{each}": {b"a": b"b"} for number in range(4) for each in range(200)}
    with cluster(2) as servers, client_of(servers.url, socket_timeout=5) as client:
        for key, value in held.items():
            client.hset(key, mapping=value)
        client.sadd(keyspace.shared("api_keys"), "k1", "k2")
        client.rpush(keyspace.decisions(SHARED_ROOT), "one")
        taking = Taking(client, keys, tmp_path / "b")
        assert sum(taking.steps()) > 0
        manifest = taking.finish(vault, 0, {}, {})
    with cluster(3) as servers, client_of(servers.url, socket_timeout=5) as client:
        stopped, other = (Restoring(client, keys, vault, manifest, tmp_path / "b") for _ in range(2))
        stopped.begin()
        pieces = stopped.steps()
        next(pieces)
        other.begin()
        assert not any(client.exists(key) for key in held)
        with pytest.raises(Conflict, match="Another restore has begun"):
            list(pieces)
        assert sum(other.steps()) >= len(held)
        assert other.finish().phase is Phase.FENCED
        assert {key: client.hgetall(key) for key in held} == held
        assert client.smembers(keyspace.shared("api_keys")) == {b"k1", b"k2"}
        assert client.lrange(keyspace.decisions(SHARED_ROOT), 0, -1) == [b"one"]
        assert Epochs(client, vault, keys).fenced_partitions() == [0, 1, 2, 3]
