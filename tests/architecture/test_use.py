"""No unused code: nothing that only tests call, and no protocol with a single implementation."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache

from .sources import ROOT, modules, name_of, nodes_of, text_of, tree_of

#: Methods that frameworks call by names of their own, and those that users of the client call.
CALLED_FROM_OUTSIDE = {
    *("emit", "log_message", "Meta"),  # logging, http.server, marshmallow
    *("_validate", "on_bind_field", "_get_value", "list_commands", "get_command"),  # marshmallow, environs, click
    *("_log_as_json", "create_task_handler", "on_decode_error"),  # a Celery signal, methods of its consumer
    *("process_resource", "process_request", "process_response", "map_http_methods"),  # falcon
    *("on_get", "on_get_one", "on_get_types", "on_post"),
    *("available", "describe", "AsyncRelay"),  # relay.client
    "get_redirect_target",  # requests
}
#: Protocols that describe objects of a library.
FOREIGN = {"Answering"}
TESTS = ("tests", "bench")


@cache
def names_in_use():
    """Return the names that modules use as variables or attributes; an import alone uses nothing."""
    nodes = [node for path in modules() for node in nodes_of(path)]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@cache
def words_of_modules():
    return Counter(word for path in modules() for word in re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text_of(path)))


def is_command(node):
    """Return whether a decorator with arguments registers it with a framework such as click (`@group.command(...)`)."""
    return any(isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) for each in node.decorator_list)


def test_what_nobody_but_tests_calls_is_deleted():
    used = names_in_use()
    unused = {
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in modules()
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.name not in used
        and not node.name.startswith("__")
        and node.name not in CALLED_FROM_OUTSIDE
        and not is_command(node)
    }
    assert not unused


def test_only_the_package_gives_names_that_it_does_not_define():
    """A module's `__getattr__` would hide who uses what."""
    dynamic = [
        name_of(path)
        for path in modules()
        for node in tree_of(path).body
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__"
    ]
    assert dynamic == ["relay/__init__.py"]


#: A setting that is read by name while loading (`relay/settings/settings.py`), and what orjson reads of an outline.
READ_BY_NAME = {"redis_plaintext", "bytes"}


def read_in(path):
    """Yield the attributes that a module reads; incrementing one only writes it."""
    for node in nodes_of(path):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        elif isinstance(node, ast.MatchClass):
            yield from node.kwd_attrs


#: Data with which tests compare documents and scripts.
COMPARED = {"TRANSITIONS"}


def test_a_constant_that_nobody_but_tests_reads_is_deleted():
    words = words_of_modules()
    unread = {
        f"{name_of(path)}:{node.lineno} {node.target.id}"
        for path in modules()
        for node in tree_of(path).body
        if isinstance(node, ast.AnnAssign) and words[node.target.id] == 1 and node.target.id not in COMPARED
    }
    assert not unread


def test_a_field_that_nobody_but_tests_reads_is_deleted():
    read = {name for path in modules() for name in read_in(path)}
    unread = {
        f"{name_of(path)}:{field.lineno} {field.target.id}"
        for path in modules()
        for node in nodes_of(path)
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign) and field.target.id not in read | READ_BY_NAME
    }
    assert not unread


def members_of(node):
    functions = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    return (
        functions
        | {each.target.id for each in node.body if isinstance(each, ast.AnnAssign)}
        | {
            target.id
            for each in node.body
            if isinstance(each, ast.Assign)
            for target in each.targets
            if isinstance(target, ast.Name)
        }
    )


def attributes_of(node):
    """Return a class's members, and the attributes that its methods set on `self`."""
    set_on_self = {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store) and isinstance(each.value, ast.Name)
    }
    return members_of(node) | set_on_self


def may_implement(path, protocols):
    """Return whether a file has every word of some protocol: only those files need to be parsed."""
    return any(all(name in text_of(path) for name in members_of(protocol)) for protocol in protocols)


def test_a_protocol_has_two_implementations_or_is_faked():
    protocols = [
        node
        for path in modules()
        for node in nodes_of(path)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(each, ast.Name) and each.id == "Protocol" for each in node.bases)
    ]
    assert protocols
    sources = [*modules(), *(path for directory in TESTS for path in (ROOT / directory).rglob("*.py"))]
    attributes = {
        node: attributes_of(node)
        for path in sources
        if may_implement(path, protocols)
        for node in nodes_of(path)
        if isinstance(node, ast.ClassDef)
    }
    alone = {
        protocol.name
        for protocol in protocols
        if protocol.name not in FOREIGN
        and sum(members_of(protocol) <= each for node, each in attributes.items() if node is not protocol) < 2
    }
    assert not alone
