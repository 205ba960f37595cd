"""Child processes of a run: their output goes to files, and they are ended by process group."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
PATIENCE_S: Final = 40.0  # between SIGTERM and SIGKILL
POLL_S: Final = 0.02
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
STAGE: Final = ("server", "endpoint")  # the processes that the others of a stage need


class BenchError(Exception):
    """A run that cannot go on: a process died, or did not become ready in time."""


class Children:
    """The processes of one stage; leaving the context ends all of them, server and endpoint last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop(without=STAGE)
        self.stop()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], cwd: Path = ROOT) -> None:
        """Starts a process; its output goes to NAME.log in the stage's folder."""
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append((name, process))

    def cpu_s(self) -> dict[str, float]:
        """Seconds of processor that each process and what it started in its session have used so far."""
        sessions = {process.pid: name for name, process in self._running}
        used = dict.fromkeys(sessions.values(), 0.0)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has just ended
                fields = stat.read_text().rpartition(")")[2].split()
                name = sessions.get(int(fields[3]))
                if name is not None:
                    used[name] += (int(fields[11]) + int(fields[12])) / TICKS_PER_S
        return used

    def memory_kib(self, prefix: str, field: str = "VmRSS") -> int:
        """KiB of memory of the first process whose name starts with ``prefix``: now, or at most (``VmHWM``)."""
        lines = Path(f"/proc/{self.pid(prefix)}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    def pid(self, prefix: str) -> int:
        """The id of the first process whose name starts with ``prefix``."""
        return next(process.pid for name, process in self._running if name.startswith(prefix))

    def check(self) -> None:
        """Raises BenchError if a process has ended by itself."""
        for name, process in self._running:
            if process.poll() is not None:
                raise BenchError(f"{name} ended with {process.returncode}; see {self._folder / name}.log")

    def wait_until(self, what: str, ready: Callable[[], bool], within_s: float) -> None:
        """Polls until ready; raises BenchError after ``within_s`` or when a process ended."""
        end_s = time.monotonic() + within_s
        while not ready():
            self.check()
            if time.monotonic() > end_s:
                raise BenchError(f"{what} did not come within {within_s:g} s; see {self._folder}")
            time.sleep(POLL_S)

    def stop(self, prefix: str = "", without: tuple[str, ...] = ()) -> None:
        """Ends the processes whose name starts with ``prefix``: SIGTERM to all at once, then SIGKILL to the groups."""
        chosen = [(name, process) for name, process in self._running if name.startswith(prefix) and name not in without]
        self._running = [each for each in self._running if each not in chosen]
        ending = [process for _, process in reversed(chosen)]
        for process in ending:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        end_s = time.monotonic() + PATIENCE_S
        for process in ending:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(end_s - time.monotonic(), 0.1))
            # The leader may be gone while its children live on (Granian's worker outlives its master).
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def end_on_sigterm() -> None:
    """On SIGTERM (from a time limit), leave through the contexts, which end our children."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def accepts(port: int) -> bool:
    """Whether something accepts connections on a port of loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a contender's process: ours without proxies and without RELAY_ settings."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RELAY_") and not name.lower().endswith("_proxy")
    }
    return {**ours, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(extra or {})}
