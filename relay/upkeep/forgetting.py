"""Continues jobs that forget subjects, as part of workers' sweeps: no job needs the command that began it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from relay.store.partitions.reachable import Partitions
    from relay.store.subjects.forgetting import Forgetting

JOBS: Final = 16  # of a partition, read at once
#: How long one sweep spends on them, in seconds; the next sweep continues.
FORGETTING_S: Final = 0.4


def forget_due(forgetting: Forgetting, partitions: Partitions) -> int:
    """Continue due jobs, a piece each, for at most about `FORGETTING_S` seconds; return how many pieces were done.

    A partition that does not answer, or confirms nothing, holds up no other. Raises `Unavailable` if none answers.
    """
    until_s = time.monotonic() + FORGETTING_S
    return sum(partitions.ask(lambda partition: _forget_in(partition, forgetting, until_s)))


def _forget_in(partition: int, forgetting: Forgetting, until_s: float) -> int:
    pieces = 0
    while due := forgetting.due(partition, JOBS):
        for plugin, subject in due:
            forgetting.go_on(plugin, subject)
            pieces += 1
            if time.monotonic() > until_s:
                return pieces
    return pieces
