"""Gets the tree of another release from the repository's history: its processes run beside those of this one."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.forked_processes import ROOT
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator


def last_release() -> str:
    """Return the newest tag of a release; without a history, or before the first release, the test is skipped."""
    if not (ROOT / ".git").exists():
        pytest.skip("this tree has no history: it is not a clone of the repository")
    tags = _git("tag", "--list", "v*", "--sort=-v:refname").decode().split()
    if not tags:
        pytest.skip("no release is tagged here (a shallow clone has no tags: git fetch --tags)")
    return tags[0]


@contextmanager
def tree_of(ref: str) -> Iterator[Path]:
    """Provide the files of a tag, or of another reference, in a directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="rlv") as directory:
        with tarfile.open(fileobj=io.BytesIO(_git("archive", ref))) as files:
            files.extractall(directory, filter="data")
        yield Path(directory)


def _git(*words: str) -> bytes:
    return subprocess.run([require("git"), *words], cwd=ROOT, check=True, capture_output=True).stdout
