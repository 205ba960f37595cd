"""Signals to processes that may have ended a moment ago."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Protocol


class Leader(Protocol):
    """A process that leads a group of its own."""

    @property
    def pid(self) -> int: ...


def signal_group(leader: Leader, number: int = signal.SIGKILL) -> None:
    """To the process and to all that it has started; to none where none is left."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, number)
