"""Signals and inspects processes that may have just ended."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable


class Leader(Protocol):
    """A process that leads its own process group."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...


def signal_group(leader: Leader, number: int = signal.SIGKILL) -> None:
    """Send a signal to the process and all that it has started; do nothing if no process of its group is left."""
    if leader.poll() is not None and psutil.pid_exists(leader.pid):
        return  # no process gets the number of a group that is not empty: this is another's
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, number)


def kill_each(processes: Iterable[psutil.Process]) -> None:
    """Kill those that still run: killing one may have ended another."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def busy_s(pid: int) -> float:
    """Return how long the process's main thread has run or waited for a processor, in seconds; 0 once it has ended.

    What is left of a duration is idle, which does not depend on the load of the machine (Linux's ``schedstat``).
    """
    try:
        run_ns, queued_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except OSError:
        return 0.0
    return (int(run_ns) + int(queued_ns)) / 1e9


def lives(process: psutil.Process) -> bool:
    """Return whether the process runs; false if it has ended, even if it has not been waited for."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
