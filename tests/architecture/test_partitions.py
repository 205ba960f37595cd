"""Only one module goes through several partitions, so that a silent one holds nobody up (ADR 0049)."""

from __future__ import annotations

import ast

from .sources import ROOT, modules, name_of, tree_of

HELPER = "relay/store/partitions/reachable.py"
#: Who else does, and why a silent partition holds up no other.
ELSEWHERE = {
    "relay/store/partitions/dividing.py": "while nothing runs, on one server",
    "relay/store/counts/totals.py": "while nothing runs, on one server",
    "relay/store/keys/keyspace.py": "names keys",
    "relay/store/ledger/invocations.py": "its callers give it calls of one partition",
    "relay/executor/pipeline.py": "a greenlet for each partition",
    "relay/executor/scheduler.py": "a run for each partition",
    "relay/wiring/worker_runtime.py": "a greenlet for each trail",
    "relay/cli/audit.py": "names trails",
    "relay/store/decisions/every.py": "names chains; resealing needs every server",
    "relay/backup/taking.py": "a backup needs every server",
    "relay/backup/restoring.py": "a restore needs every server",
    "relay/backup/unfinished.py": "while the store is fenced",
    "relay/store/backups/epoch.py": "fences each partition, or none",
}


def goes_through_several(node):
    """Return whether a node counts partitions, splits items by partition, or lists the trails of all of them."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in {"spread", "trails", "roots_of"}:
            return True
        return called == "range" and any(ast.unparse(each).endswith(".partitions") for each in node.args)
    return False


def test_nothing_else_goes_through_several_partitions():
    found = {name_of(path) for path in modules() if any(map(goes_through_several, ast.walk(tree_of(path))))}
    assert found - {HELPER, "relay/store/trail/trail.py"} == ELSEWHERE.keys()
    assert HELPER in found


def test_it_would_be_found():
    for text in ("range(self._keys.partitions)", "keys.spread(refs, root_of)", "trails(client, keys)"):
        assert goes_through_several(ast.parse(text, mode="eval").body)
    assert not goes_through_several(ast.parse("range(count)", mode="eval").body)
    assert (ROOT / HELPER).exists()
