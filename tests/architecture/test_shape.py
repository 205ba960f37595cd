"""The shape of the code: small files and functions, nouns as names, and no clock or environment in pure modules."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict

from .sources import ROOT, modules, name_of, nodes_of, tree_of

MAX_FILE_LINES = 400
USUAL_FILE_LINES = 300
USUAL_FILE_SHARE = 0.98
MAX_FUNCTION_LINES = 60
USUAL_FUNCTION_LINES = 25
USUAL_FUNCTION_SHARE = 0.95
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager", "managers"}
CLOCK_CALLS = {"now", "utcnow", "today"}


def functions():
    for path in modules():
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name_of(path)}:{node.lineno} {node.name}", code_lines(node)


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines from the signature to the end, without the docstring."""
    first = node.body[0]
    is_documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = first.end_lineno - first.lineno + 1 if is_documented else 0
    return node.end_lineno - node.lineno + 1 - docstring


def pure_modules():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    names = next(each["source_modules"] for each in contracts if each["name"].endswith("read no clock"))
    roots = [ROOT / name.replace(".", "/") for name in names]
    return sorted(
        {path for root in roots for path in (root.rglob("*.py") if root.is_dir() else [root.with_suffix(".py")])}
    )


def test_nearly_all_modules_have_at_most_300_lines_and_none_has_more_than_400():
    lengths = {name_of(path): path.read_bytes().count(b"\n") for path in modules()}
    long = {name: lines for name, lines in lengths.items() if lines > USUAL_FILE_LINES}
    assert len(long) <= (1 - USUAL_FILE_SHARE) * len(lengths), long
    assert not {name: lines for name, lines in long.items() if lines > MAX_FILE_LINES}


def test_no_function_is_longer_than_60_lines():
    assert not {name: lines for name, lines in functions() if lines > MAX_FUNCTION_LINES}


def test_nearly_all_functions_are_shorter_than_25_lines():
    lengths = dict(functions())
    long = {name: lines for name, lines in lengths.items() if lines > USUAL_FUNCTION_LINES}
    assert len(long) <= (1 - USUAL_FUNCTION_SHARE) * len(lengths), long


def test_no_module_is_named_after_nothing():
    parts = {part for path in modules() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not parts & BANNED_NAMES


def test_only_settings_and_the_search_for_foreign_variables_read_the_environment():
    def reads(path):
        return any(
            isinstance(node, ast.Attribute)
            and node.attr in {"environ", "environb", "getenv", "putenv"}
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
            for node in nodes_of(path)
        )

    reading = {path.relative_to(ROOT).as_posix() for path in modules() if reads(path)}
    assert {path for path in reading if not path.startswith("relay/settings/")} == {"relay/process/foreign.py"}


def test_a_pure_module_reads_no_clock():
    pure = pure_modules()
    read = {
        f"{name_of(path)}:{node.lineno} {node.func.attr}"
        for path in pure
        for node in nodes_of(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_CALLS
    }
    assert pure
    assert not read


def test_only_the_server_clock_asks_for_a_server_s_time():
    """`TIME` names no key, so a cluster's client would ask any server, also one that does not answer."""
    asks = re.compile(r"""(?<!metavar=)["']TIME["']|(?<!\btime)\.time\(\)""")
    asking = {path.relative_to(ROOT).as_posix() for path in modules() if asks.search(path.read_text("utf-8"))}
    # The trail asks one server, its primary.
    assert asking == {"relay/store/server/clock.py", "relay/store/trail/trail.py"}


def test_a_module_says_what_it_is():
    silent = [path for path in modules() if path.name != "__init__.py" and not ast.get_docstring(tree_of(path))]
    assert not silent


def constants():
    for path in modules():
        for node in tree_of(path).body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                yield node.target.id.lstrip("_"), node.value, name_of(path)


def is_number(value):
    """Return whether an expression consists only of numbers, or is true or false."""
    leaves = [node for node in ast.walk(value) if isinstance(node, ast.expr) and not isinstance(node, ast.BinOp)]
    return all(isinstance(leaf, ast.Constant) and isinstance(leaf.value, int | float) for leaf in leaves)


def test_a_constant_has_one_home():
    """Numbers of one name may be equal by chance; but two copies of a text, a pattern or a list drift apart."""
    homes = defaultdict(list)
    for name, value, where in constants():
        if name.isupper() and not is_number(value):
            homes[name, ast.unparse(value)].append(where)
    assert not {name: where for (name, _), where in homes.items() if len(where) > 1}


#: Shorter parts of patterns (a few digits, a letter) may be equal by chance.
PATTERN_PART = 20


def has_a_range(node):
    """Return whether a node is a text with a character range."""
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"\[[^\]]*-[^\]]*\]", node.value) is not None
    )


def pattern_parts(path):
    """Return the parts of a module's patterns that begin with a character range; all groups are written alike."""
    if not any(map(has_a_range, nodes_of(path))):
        return set()
    calls = [node for node in nodes_of(path) if isinstance(node, ast.AnnAssign | ast.Call)]
    texts = {node.value for call in calls for node in ast.walk(call) if has_a_range(node)}
    plain = [re.sub(r"\(\?(?::|P<\w+>)", "(", text) for text in texts]
    return {
        text[at : at + PATTERN_PART]
        for text in plain
        for at in range(len(text) - PATTERN_PART + 1)
        if text[at] == "[" and "-" in text[at : text.find("]", at)]
    }


def test_a_pattern_has_one_home():
    homes = defaultdict(set)
    for path in modules():
        for part in pattern_parts(path):
            homes[part].add(name_of(path))
    assert homes
    assert not {part: where for part, where in homes.items() if len(where) > 1}
