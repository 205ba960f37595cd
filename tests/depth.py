"""How many examples open-ended tests try: enough to find faults in every run, more in `make test-deep`."""

from __future__ import annotations

import os
from typing import Final

#: Whether this run may take long.
DEEP: Final = os.environ.get("DEPTH") == "deep"
_TIMES: Final = 5


def examples(count: int) -> int:
    """Return how many random examples to try: ``count``, or several times as many in a deep run."""
    return count * _TIMES if DEEP else count
