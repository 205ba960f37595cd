"""Processes that may have ended a moment ago: signals to them, and what they are."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable


class Leader(Protocol):
    """A process that leads a group of its own."""

    @property
    def pid(self) -> int: ...


def signal_group(leader: Leader, number: int = signal.SIGKILL) -> None:
    """To the process and to all that it has started; to none where none is left."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, number)


def kill_each(processes: Iterable[psutil.Process]) -> None:
    """Those that are left: with one another may have ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def lives(process: psutil.Process) -> bool:
    """Whether it runs; it may be gone by the time that it is asked."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
