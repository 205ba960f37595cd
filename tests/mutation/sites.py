"""Draws the places at which faults are put in by hand: lines of an area, each as likely as any other.

`python -m tests.mutation.sites --seed 3` prints them, so that nobody chooses a place by what is tested there.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
from pathlib import Path
from typing import Final

AREAS: Final = {
    "scripts": ["relay/store/lua"],
    "store": ["relay/store", "relay/audit", "relay/upkeep"],
    "views": ["relay/metrics", "relay/telemetry", "relay/text", "relay/settings", "relay/domain"],
    "executor": ["relay/executor", "relay/outbound", "workers"],
    "replays": ["relay/replay", "relay/chains", "relay/upkeep/alerts.py", "relay/upkeep/callbacks.py"],
    "answers": ["relay/answer"],
    "door": ["api", "relay/accept", "relay/authentication", "relay/request"],
    "clients": ["relay/client", "api/static/webhooks.js"],
    "console": ["api/static/console"],
    "registration": ["relay/registration", "relay/declarations", "relay/vault.py"],
    "operators": [
        "relay/cli",
        "relay/doctor",
        "relay/up",
        "relay/backup",
        "relay/rotation",
        "relay/process",
        "relay/wiring",
    ],
}
SUFFIXES: Final = {"scripts": ".lua", "console": ".js"}
#: Lines of Lua and JavaScript that do something: not a comment, the edge of a block or of the module.
_DOES: Final = re.compile(
    r"(?!return\b|import\b|export \{|local \w+ = require)\s*(?!--|//|/?\*|end\b|else\b)\S.*[\w\"']"
)
#: Statements of Python at which every fault breaks everything: an argument that is kept as it was given.
_KEPT: Final = re.compile(r"self\.\w+(: [^=]+)? = \w+$")


def lines_of(path: Path) -> list[int]:
    """Return the numbers of the lines of a file that do something."""
    text = path.read_text()
    if path.suffix != ".py":
        return [number for number, line in enumerate(text.splitlines(), 1) if _DOES.match(line)]
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    statements = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.stmt)]
    written = text.splitlines()
    does = [
        node.lineno for node in statements if not (_is_only_said(node) or _KEPT.match(written[node.lineno - 1].strip()))
    ]
    return sorted(set(does))


def _is_only_said(node: ast.stmt) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Import | ast.ImportFrom | ast.Pass)


def draw(area: str, count: int, seed: int) -> list[tuple[Path, int]]:
    """Draw places of an area, in the order of its files."""
    roots = [Path(root) for root in AREAS[area]]
    found = {path for root in roots for path in ([root] if root.is_file() else root.rglob("*"))}
    kinds = [SUFFIXES[area]] if area in SUFFIXES else [".py", ".js"] if area == "clients" else [".py"]
    places = [(path, line) for path in sorted(found) if path.suffix in kinds for line in lines_of(path)]
    return sorted(random.Random(f"{area} {seed}").sample(places, count))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("areas", nargs="*", default=list(AREAS), help="areas to draw from; all by default")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=20, help="places in each area")
    given = parser.parse_args()
    for name in given.areas:
        for path, line in draw(name, given.count, given.seed):
            print(f"{name}\t{path}:{line}\t{path.read_text().splitlines()[line - 1].strip()}")
