"""Chooses how many processes of a kind fit the processors of this machine."""

from __future__ import annotations

import os
from typing import Final

from relay.up.ports import CAN_BE_SHARED

#: How many processors an API process, with a worker of each lane group and its share of the server, keeps busy.
_SET: Final = 2
#: The most API processes, and workers of a lane group, that one server gives work to (docs/scaling.md, "Sizing").
_MOST: Final = 4


def api_processes() -> int:
    """Return how many API processes to run: one, where processes cannot share a port."""
    return workers_of_a_group() if CAN_BE_SHARED else 1


def workers_of_a_group() -> int:
    """Return how many workers of each lane group to run, by the number of processors that this process may use.

    More than there are processors for make groups of calls smaller, and so each call more expensive.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable // _SET, _MOST))
