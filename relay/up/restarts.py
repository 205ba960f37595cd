"""Notes in a small file of the data directory which processes the supervisor restarted; `relay doctor` reads it."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from pathlib import Path

    from relay.up.datadir import DataDir

FILE: Final = "restarts.json"


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often a process ended unexpectedly since `relay up` was started, and how it ended the last time."""

    name: str
    count: int
    last_at_s: float  # seconds since the epoch
    last_end: str  # such as `exit status 71` or `SIGKILL`


class RestartLog:
    """Notes unexpected ends of children; begins without the notes of the last start."""

    def __init__(self, directory: DataDir) -> None:
        self._directory = directory
        self._noted: dict[str, Restarts] = {}
        self._saved = False
        self.save()

    def note(self, name: str, status: int | None) -> None:
        """Note that a child has ended by itself with this status, negative for a signal."""
        before = self._noted.get(name)
        count = 1 if before is None else before.count + 1
        self._noted[name] = Restarts(name, count, time.time(), _end_of(status))
        self._saved = False
        self.save()

    def save(self) -> None:
        """Write the notes unless they are written; a disk may have been full, which stops no work of the supervisor."""
        with suppress(OSError):
            if not self._saved:
                notes = [asdict(each) for each in self._noted.values()]
                self._directory.write(FILE, orjson.dumps(notes).decode() + "\n")
                self._saved = True


def read_restarts(data_dir: Path) -> list[Restarts] | None:
    """Return what the running or last `relay up` of a data directory noted; None if there is no readable file."""
    try:
        return [Restarts(**each) for each in orjson.loads((data_dir / FILE).read_bytes())]
    except (OSError, ValueError, TypeError):
        return None


def _end_of(status: int | None) -> str:
    if status is None:
        return "unknown"
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"
