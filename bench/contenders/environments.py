"""Python environments of the peers: one each, under the build folder, with the packages that the peer pins."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from bench.contenders.contender import SkippedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INSTALL_S: Final = 300.0


def environment(build: Path, requirements: Path) -> Path:
    """Return the Python of an environment with these requirements; make it if missing. Raises SkippedError."""
    wanted = requirements.read_text()
    home = build / "environments" / requirements.parent.name
    stamp, python = home / "installed.txt", home / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == wanted):
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)])
        stamp.write_text(wanted)
    return python


def pinned(requirements: Path) -> Mapping[str, str]:
    """Return the version that each line pins, by package."""
    lines = (line.split("==") for line in requirements.read_text().splitlines() if "==" in line)
    return {name: version for name, version in lines}  # noqa: C416 - pairs of lists, not of tuples


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        raise SkippedError("its packages took too long to install") from None
    if done.returncode:
        raise SkippedError("its packages could not be installed (no registry within reach?)")
