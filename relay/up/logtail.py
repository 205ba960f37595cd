"""Reads the lines that children add to their logs, for ``relay up --verbose``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_BYTES: Final = 256 * 1024


class LogTail:
    """Follows every ``*.log`` of a directory, from its end at the time when this object is made."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offsets = {path: path.stat().st_size for path in self._logs()}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield each whole line added since the last call, with the name of its log."""
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
            whole, newline, _ = file.read(_MAX_BYTES).rpartition(b"\n")
        self._offsets[path] = offset + len(whole) + len(newline)
        return whole.split(b"\n") if newline else []


def last_lines(path: Path, count: int = 10) -> list[str]:
    """Return the last ``count`` lines of a log, which may tell why a child did not start."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MAX_BYTES))
        lines = file.read().splitlines()[-count:]
    return [line.decode("utf-8", "replace") for line in lines]
