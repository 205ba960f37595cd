"""No backup is made of a cluster whose servers change meanwhile."""

from __future__ import annotations

import pytest

from relay.backup.manifest import FILE
from relay.backup.taking import Taking
from relay.errors import Conflict
from relay.store.keys.keyspace import Keyspace
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
