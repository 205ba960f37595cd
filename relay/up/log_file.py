"""The log of a child: readable by its owner only, put aside when it has grown large, and read while the child runs.

The child always writes at the end of the file, through its own descriptor. So the content is copied and the file then
emptied, without the child's help. What the child writes in the moment between the two is lost.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LOG_BYTES: Final = 16 * 1024 * 1024
#: How many logs that were put aside are kept; ``name.log.1`` is the newest.
KEPT: Final = 3
_OWNER_ONLY: Final = 0o600
_PIECE_BYTES: Final = 64 * 1024
#: How much is read of a log at once, to show its lines.
_TAIL_BYTES: Final = 256 * 1024
#: How often, and how many seconds apart, to look for the rest of a line: its writer may be waiting for a processor.
_LOOKS: Final = 500
_LOOK_S: Final = 0.001


def open_log(path: Path) -> IO[bytes]:
    """Open a log for a child to write to; make its folder again if somebody has removed it."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
    os.fchmod(descriptor, _OWNER_ONLY)  # an earlier version left it readable
    return os.fdopen(descriptor, "ab", buffering=0)


def put_aside(path: Path, max_bytes: int = MAX_LOG_BYTES) -> bool:
    """Put a log's content aside if it has more than ``max_bytes``; return whether it had."""
    try:
        if path.stat().st_size <= max_bytes:
            return False
    except OSError:
        return False
    for number in range(KEPT, 1, -1):
        with suppress(FileNotFoundError):
            _aside(path, number - 1).replace(_aside(path, number))
    _aside(path, 1).unlink(missing_ok=True)
    with path.open("r+b") as log, os.fdopen(_create(_aside(path, 1)), "wb") as copy:
        _copy(log, copy)
        log.truncate(0)
    return True


class LogTail:
    """Follows every ``*.log`` of a directory, from its end at the time when this object is made."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offsets = {path: path.stat().st_size for path in self._logs()}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield each whole line added since the last call, with the name of its log; a very long one in pieces."""
        for path in self._logs():
            for line in self._new_lines(path):
                yield path.stem, line.decode("utf-8", "replace")

    def _logs(self) -> list[Path]:
        return sorted(self._directory.glob("*.log"))

    def _new_lines(self, path: Path) -> list[bytes]:
        offset = self._offsets.get(path, 0)
        if offset > path.stat().st_size:  # the log was put aside and begun anew
            offset = 0
        with path.open("rb") as file:
            file.seek(offset)
            read = file.read(_TAIL_BYTES)
        whole, newline, _ = read.rpartition(b"\n")
        if not newline and len(read) == _TAIL_BYTES:  # its end may never fit, and the lines after it would not be shown
            whole = read
        self._offsets[path] = offset + len(whole) + len(newline)
        return whole.split(b"\n") if whole or newline else []


def last_lines(path: Path, count: int = 10) -> list[str]:
    """Return the last ``count`` lines of a log, which may tell why a child did not start."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().splitlines()[-count:]
    return [line.decode("utf-8", "replace") for line in lines]


def _copy(log: IO[bytes], copy: IO[bytes]) -> None:
    """Copy a log, including what is added meanwhile and the rest of a line that is being written."""
    last = b"\n"
    for _ in range(_LOOKS):
        while more := log.read(_PIECE_BYTES):
            copy.write(more)
            last = more
        if last.endswith(b"\n"):
            return
        time.sleep(_LOOK_S)


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
