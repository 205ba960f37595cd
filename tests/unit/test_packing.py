"""How the runs of scripts are packed: as redis-py would pack them, on the connections of every kind of client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import HiredisRespSerializer

from relay.store.scripting.packing import SCRIPT_PACKER
from relay.store.server.connection import client_of
from tests.timing import ANSWER_S

ARGUMENTS = st.lists(st.one_of(st.binary(), st.text(), st.integers(), st.floats(allow_nan=False)))
COMMANDS = st.sampled_from(["FCALL", "GET", "FUNCTION LOAD", "CONFIG GET"])


@given(COMMANDS, ARGUMENTS)
def test_a_command_is_packed_as_redis_py_packs_it(command, arguments):
    assert SCRIPT_PACKER.pack(command, *arguments) == HiredisRespSerializer().pack(command, *arguments)


@pytest.mark.parametrize(
    "url", ["redis://localhost/0", "rediss://localhost/0", "redis+sentinel://localhost:26379/main/0"]
)
def test_the_connections_of_a_client_pack_scripts(url):
    with client_of(url, socket_timeout=ANSWER_S) as client:
        assert client.connection_pool.make_connection().pack_command("FCALL", b"f", 0) == [
            b"*3\r\n$5\r\nFCALL\r\n$1\r\nf\r\n$1\r\n0\r\n"
        ]
        assert client.connection_pool.make_connection()._command_packer is SCRIPT_PACKER


def test_the_connections_of_a_cluster_s_servers_pack_scripts(cluster_node):
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        (node,) = client.get_primaries()
        server = client.get_redis_connection(node)
        assert server.connection_pool.make_connection()._command_packer is SCRIPT_PACKER
