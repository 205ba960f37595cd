"""Which modules write to the store by plain commands: on none of these writes does anybody rely after a failover.

Scripts say in their headers what they do, and `Scripts.write` waits for replicas; these commands do neither.
"""

from __future__ import annotations

import ast

from .sources import ROOT

WRITING = {
    *("set", "setnx", "getset", "getdel", "append", "incr", "incrby", "decr", "delete", "unlink", "rename", "renamenx"),
    *(
        "hset",
        "hsetnx",
        "hdel",
        "hincrby",
        "sadd",
        "srem",
        "spop",
        "zadd",
        "zrem",
        "zincrby",
        "zpopmin",
        "zremrangebyscore",
    ),
    *("lpush", "rpush", "lpop", "rpop", "lset", "lrem", "ltrim", "linsert", "expire", "pexpire", "persist", "copy"),
    *("xadd", "xdel", "xtrim", "restore", "flushall", "flushdb", "transaction"),
}
#: By module and function, why nobody relies on what it writes.
COUNTED = {
    ("registry/access_tokens", "write"): "a token that is gone is fetched again",
    ("health/alerts", "delete_delivered"): "an alert may be told twice",
    ("api_keys/keys", "_note_use"): "when a key was used",
    ("ledger/callbacks", "delete"): "a callback that was told is triggered once, whoever tells it again",
    ("server/locks", "take_lock"): "a lock",
    ("server/locks", "hold_lock"): "a lock",
    ("ledger/reading", "count"): "a statistic",
    ("replays/jobs", "list"): "entries of records that are gone",
    ("health/workers", "note_jump"): "what operators are told for an hour",
}
#: These change the store while no process of the relay runs, or, the last, while it is fenced. Divisions and restores wait
#: for replicas by themselves.
APART = {"partitions/dividing", "partitions/number", "backups/copying"}


def writes():
    """Yield the module and function of each call of a writing command on a client or pipeline."""
    store = ROOT / "relay" / "store"
    for path in sorted(store.rglob("*.py")):
        module = path.relative_to(store).with_suffix("").as_posix()
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef):
                yield from ((module, function.name) for call in ast.walk(function) if is_write(call))


def is_write(node):
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in WRITING:
        return False
    return ast.unparse(node.func.value).rpartition(".")[2] in {"_client", "client", "pipeline", "server", "_server"}


def test_only_what_nobody_relies_on_is_written_by_a_plain_command():
    found = {each for each in writes() if each[0] not in APART}
    assert found == COUNTED.keys()
