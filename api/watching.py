"""Watches the chains of the store, and hears what other processes have read of them, in threads of the API."""

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
    """Start a thread for each chain, since one that is away must not hold up the others, and one that hears."""
    iterations = [*(partial(_look, each) for each in watching), partial(hear_all, heads, watching)]
    for iterate in iterations:
        threading.Thread(target=Loop("chains", iterate, time.sleep).run, name="chains", daemon=True).start()


def _look(watching: Watching) -> None:
    watching.look()
    time.sleep(PERIOD_S)
