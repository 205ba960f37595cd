"""Keys are named by their kind and what its template leaves open: no module misspells either."""

from __future__ import annotations

import ast
from string import Formatter

import pytest

from relay.store.keys.names import PARTITIONED, SHARED

from .sources import modules, name_of, nodes_of

#: What names a key: the place of the kind among its arguments, the templates, and the part that it fills in by itself.
NAMING = {
    "key_in": (1, PARTITIONED, set()),
    "of_plugin": (0, PARTITIONED, {"plugin"}),
    "of_ref": (0, PARTITIONED, {"ref"}),
    "shared": (0, SHARED, set()),
}


def fault_of(call):
    """Return what is wrong with a call that names a key of a kind that it spells out; None if nothing is."""
    called = ast.unparse(call.func).rpartition(".")[2]
    if called not in NAMING:
        return None
    place, templates, filled = NAMING[called]
    if len(call.args) <= place or not isinstance(call.args[place], ast.Constant):
        return None
    kind = call.args[place].value
    if kind not in templates:
        return f"there is no key `{kind}`"
    open_parts = {name for _, name, _, _ in Formatter().parse(templates[kind]) if name}
    given = {each.arg for each in call.keywords} | filled
    return None if given == open_parts else f"`{kind}` is made of {sorted(open_parts)}, not of {sorted(given)}"


def test_every_key_exists_and_gets_what_its_template_leaves_open():
    faults = [
        f"{name_of(path)}:{node.lineno} {fault}"
        for path in modules()
        for node in nodes_of(path)
        if isinstance(node, ast.Call) and (fault := fault_of(node))
    ]
    assert not faults


@pytest.mark.parametrize(
    "text",
    [
        'keys.of_plugin("webhoks", plugin)',
        'keys.of_plugin("minute", plugin, minute=1)',
        'keys.of_ref("webhooks", ref)',
        'key_in(root, "pending", plugin=plugin)',
        'keyspace.shared("pending")',
    ],
)
def test_a_misspelt_key_would_be_found(text):
    assert fault_of(ast.parse(text, mode="eval").body)
