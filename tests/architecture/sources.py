"""The project's own files, for rules about all of them."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("relay", "api", "workers")
#: What is never part of the project, where there is no git to say what is.
_FOREIGN = {".git", ".venv", ".relay", "node_modules", "build", "dist", "__pycache__"}


def modules() -> list[Path]:
    """Every module of the three packages."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def project_files() -> list[Path]:
    """Every file under version control (or every file, in a tree without git)."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not _FOREIGN & set(path.relative_to(ROOT).parts)]
    return sorted(path for path in paths if path.is_file())
