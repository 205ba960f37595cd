"""Child processes of a run: their output goes to files, and they are ended by process group."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
PATIENCE_S: Final = 40.0  # between SIGTERM and SIGKILL
POLL_S: Final = 0.02
UP: Final = "relay_up"  # the name of the process `relay up`
STAGE: Final = ("server", "endpoint")  # the processes that the others of a stage need


class BenchError(Exception):
    """A run cannot continue: a process died, or did not become ready in time."""


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
        """Start a process; its output goes to NAME.log in the stage's folder."""
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
        """Return the processor seconds that each process and its descendants have used; those of `relay up` by role."""
        used: dict[str, float] = defaultdict(float)
        for name, started in self._running:
            with suppress(psutil.NoSuchProcess):  # it has just ended
                top = psutil.Process(started.pid)
                for process in (top, *top.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        role = role_of(process) if name == UP else None
                        used[role or name] += sum(process.cpu_times()[:2])
        return dict(used)

    def memory_kib(self, prefix: str, field: str = "VmRSS") -> int:
        """Return the KiB of memory of the first process named ``prefix...``: now, or at most (``VmHWM``)."""
        lines = Path(f"/proc/{self.pid(prefix)}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    def pid(self, prefix: str) -> int:
        """Return the id of the first process whose name starts with ``prefix``."""
        return next(process.pid for name, process in self._running if name.startswith(prefix))

    def check(self) -> None:
        """Raise BenchError if a process has ended by itself."""
        for name, process in self._running:
            if process.poll() is not None:
                raise BenchError(f"{name} ended with {process.returncode}; see {self._folder / name}.log")

    def wait_until(self, what: str, ready: Callable[[], bool], within_s: float) -> None:
        """Poll until ready; raise BenchError after ``within_s`` or if a process has ended."""
        end_s = time.monotonic() + within_s
        while not ready():
            self.check()
            if time.monotonic() > end_s:
                raise BenchError(f"{what} did not come within {within_s:g} s; see {self._folder}")
            time.sleep(POLL_S)

    def stop(self, prefix: str = "", without: tuple[str, ...] = ()) -> None:
        """End the processes whose name starts with ``prefix``: SIGTERM to all at once, then SIGKILL to the groups."""
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
            # Once it has been waited for, a process with its number is another one, and its group is gone.
            if process.poll() is None or not psutil.pid_exists(process.pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def role_of(process: psutil.Process) -> str | None:
    """Return the role of a process of `relay up`: api, flower, server or worker with its lane; None for any other."""
    command = " ".join(process.cmdline())
    named = {"granian": "api", "workers.flower": "flower", "valkey": "server"}
    worker = re.search(r"-n ([a-z]+)\d*@", command)
    return f"worker {worker[1]}" if worker else next((role for word, role in named.items() if word in command), None)


def end_on_sigterm() -> None:
    """Exit through the contexts, which end our children, on SIGTERM (from a time limit)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def accepts(port: int) -> bool:
    """Return whether something accepts connections on a loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a contender's process: ours without proxies and without RELAY_ settings."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RELAY_") and not name.lower().endswith("_proxy")
    }
    return {**ours, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(extra or {})}
