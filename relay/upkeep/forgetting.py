"""Goes on with jobs that forget subjects, as part of workers' sweeps: no job needs the command that began it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from relay.store.subjects.forgetting import Forgetting

JOBS: Final = 16  # gone on with in one sweep
#: How long, in seconds, one sweep goes on with them; the next sweep continues.
FORGETTING_S: Final = 0.4


def forget_due(forgetting: Forgetting) -> int:
    """Go on with due jobs, a piece each, for at most about `FORGETTING_S`; return how many pieces that were."""
    until_s, pieces = time.monotonic() + FORGETTING_S, 0
    while True:
        due = forgetting.due(JOBS)
        for plugin, subject in due:
            forgetting.go_on(plugin, subject)
            pieces += 1
            if time.monotonic() > until_s:
                return pieces
        if not due:
            return pieces
