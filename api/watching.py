"""Watches the store's chains of decisions, and hears how far other processes have read them, in threads of the API."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from relay.process.loops import Loop
from relay.upkeep.watching import PERIOD_S, hear_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.store.decisions.heads import Heads
    from relay.upkeep.watching import Watching


def start_watching(watching: Sequence[Watching], heads: Heads) -> None:
    """Start a thread for each chain, so that one that is away does not hold up the others, and a thread that hears."""
    iterations = [*(partial(_look, each) for each in watching), partial(hear_all, heads, watching)]
    for iterate in iterations:
        threading.Thread(target=Loop("chains", iterate, time.sleep).run, name="chains", daemon=True).start()


def _look(watching: Watching) -> None:
    watching.look()
    time.sleep(PERIOD_S)
