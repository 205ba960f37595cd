"""Python's cyclic garbage collector, set for processes that serve: what is loaded once is not searched again and again.

Calls are freed by reference counts; cycles are rare (an error and its traceback). By default the collector looks at
everything young after each 700 new objects, which is once in a few calls, and took a tenth of a worker's time.
"""

from __future__ import annotations

import gc
from typing import Final

#: New objects between two looks at the young ones.
YOUNG: Final = 20_000
#: Looks at a generation between two at the next older one.
OLDER: Final = 10


def set_for_serving() -> None:
    """To be called when a process has loaded what it needs, before it serves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, OLDER)
