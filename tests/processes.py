"""Signals and inspects processes that may have just ended."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable


class Leader(Protocol):
    """A process that leads its own process group."""

    @property
    def pid(self) -> int: ...


def signal_group(leader: Leader, number: int = signal.SIGKILL) -> None:
    """Send a signal to the process and all that it has started; do nothing if no process of its group is left."""
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


def lives(process: psutil.Process) -> bool:
    """Return whether the process runs; false if it has ended, even if it has not been waited for."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
