"""Has the picture drawn, in an environment of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from bench.contenders.contender import SkippedError
from bench.contenders.environments import environment

HERE: Final = Path(__file__).parent
DRAWING_S: Final = 120.0


def draw(build: Path, tournament: Path, sweeps: Path, picture: Path) -> None:
    """Draw the contents of the two JSON files, or of the one that exists; raises SkippedError without matplotlib."""
    python = environment(build, HERE / "requirements.txt")
    command = [str(python), str(HERE / "draw.py"), str(tournament), str(sweeps), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DRAWING_S, check=False)
    if done.returncode:
        raise SkippedError(done.stderr[-400:])
