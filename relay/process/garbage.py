"""Sets Python's cyclic garbage collector for serving processes, so that it does not search loaded modules repeatedly.

Calls are freed by reference counts; cycles are rare (an error and its traceback). By default the collector searches all
young objects after every 700 new ones, which is every few calls, and took a tenth of a worker's time.
"""

from __future__ import annotations

import gc
from typing import Final

#: How many new objects are made between two collections of the youngest generation.
YOUNG: Final = 20_000
#: How many collections of a generation are made between two of the next older one.
OLDER: Final = 10


def set_for_serving() -> None:
    """Set the garbage collector; to be called once a process has loaded what it needs, before it serves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, OLDER)
