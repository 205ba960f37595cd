"""The options of every server that keeps records: of `relay up`, compose, Kubernetes, and the tests that prove them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Options of every such server; ``appendfsync`` is `always` unless `relay up` is asked for something else.
RECORDS: Final[Mapping[str, str]] = {
    "save": '""',
    "appendonly": "yes",
    "auto-aof-rewrite-min-size": "1gb",  # the server is slow while it rewrites its file, so not in every burst of calls
    "rdbcompression": "no",  # large values are sealed, and cannot be compressed
    "maxmemory-policy": "noeviction",  # refusing new work beats evicting records
    "hash-max-listpack-entries": "64",  # records are small hashes: as listpacks they take a third of the memory
    "hash-max-listpack-value": "512",
    "zset-max-listpack-entries": "16",  # in a listpack, adding or removing a call means a search
    # A burst of notices must not cut a subscription whose reader can catch up.
    "client-output-buffer-limit": "pubsub 256mb 128mb 60",
    "tcp-keepalive": "60",
}
#: Further options of the servers of a cluster.
CLUSTER: Final[Mapping[str, str]] = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "2000",  # a primary that is silent for so long is replaced
    "cluster-require-full-coverage": "no",  # a shard that is lost stops its own plugins only
    # A restarted replica that has not caught up yet may lack confirmed writes: it must never take over.
    # 0 would let it.
    "cluster-replica-validity-factor": "10",
    "repl-diskless-sync-delay": "0",
}


def lines(options: Mapping[str, str]) -> str:
    """Return the lines of a configuration file."""
    return "".join(f"{name} {value}\n" for name, value in options.items())
