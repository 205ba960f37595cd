"""The project's own files, for rules about all of them."""

from __future__ import annotations

import ast
import shutil
import subprocess
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("relay", "api", "workers")
#: Paths that are never part of the project, for a tree without git.
_FOREIGN = [
    ".git",
    *(line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line and not line.startswith("#")),
]


@cache
def modules() -> tuple[Path, ...]:
    """Return every module of the three packages."""
    return tuple(sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def text_of(path: Path | str) -> str:
    """Return the text of a file; a name is one in the project's directory."""
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a file's tree."""
    return tuple(ast.walk(tree_of(path)))


@cache
def project_files() -> tuple[Path, ...]:
    """Return every file under version control, or in a tree without git every file that is not foreign."""
    paths = [path for path in _listed_by_git() or ROOT.rglob("*") if not _is_foreign(path)]
    return tuple(sorted(path for path in paths if path.is_file()))


def _listed_by_git() -> list[Path]:
    if shutil.which("git") is None:
        return []
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def _is_foreign(path: Path) -> bool:
    inside = path.relative_to(ROOT)
    names = [*inside.parts, inside.as_posix()]
    return any(fnmatch(name, pattern) for name in names for pattern in _FOREIGN)
